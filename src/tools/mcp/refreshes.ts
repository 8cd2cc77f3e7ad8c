/**
 * Several calls find out at the same time that their token has expired, and a refresh token is used once: the first one's
 * refresh is everybody's, and what it gave is not refreshed at once again. Of a refresh that was refused it is known with
 * which token, as another node may have been first.
 */
import type { FetchLike } from "@modelcontextprotocol/client";
import type { Environment } from "../../environment/environment.ts";

/** In which a token is as good as new. */
const newMilliseconds = 10_000;

export class Refreshes {
  readonly #environment: Environment;
  /** By the refresh token that was used, and by the one that came. */
  readonly #answers = new Map<string, Promise<Answer>>();
  readonly #refused = new Set<string>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** `fetch`, which it makes for all requests but refreshes that were made just now. */
  through(fetch: FetchLike): FetchLike {
    return async (input, init) => {
      const token = refreshTokenIn(init);
      if (token === undefined) return await fetch(input, init);
      const { status, headers, text } = await (this.#answers.get(token) ?? this.#refresh(token, () => fetch(input, init)));
      return new Response(text, { status, headers });
    };
  }

  /** Whether the authorization server did not take this refresh token. */
  isRefused(token: string | undefined): boolean {
    return token !== undefined && this.#refused.has(token);
  }

  /** What was given is not as good as new after all. */
  forget(): void {
    this.#answers.clear();
  }

  #refresh(token: string, fetch: () => Promise<Response>): Promise<Answer> {
    const answering = fetch().then(async (response) => {
      const text = await response.text();
      if (response.ok) {
        this.#keep(token, answering);
        this.#keep(refreshTokenOf(text), answering);
      } else {
        this.#answers.delete(token);
        if (response.status < 500) this.#refused.add(token);
      }
      return { status: response.status, headers: response.headers, text };
    });
    this.#answers.set(token, answering);
    answering.catch(() => this.#answers.delete(token));
    return answering;
  }

  #keep(token: string | undefined, answering: Promise<Answer>): void {
    if (token === undefined) return;
    this.#answers.set(token, answering);
    this.#environment.clock.schedule(newMilliseconds, () => this.#answers.delete(token));
  }
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

function refreshTokenIn(init: RequestInit | undefined): string | undefined {
  const { body } = init ?? {};
  if (init?.method !== "POST" || !(body instanceof URLSearchParams) || body.get("grant_type") !== "refresh_token") return undefined;
  return body.get("refresh_token") ?? undefined;
}

/** Undefined for what is not JSON too: the SDK says so. */
function refreshTokenOf(text: string): string | undefined {
  try {
    const { refresh_token } = JSON.parse(text) as { readonly refresh_token?: unknown };
    return typeof refresh_token === "string" ? refresh_token : undefined;
  } catch {
    return undefined;
  }
}
