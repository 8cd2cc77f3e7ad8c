/** The HTTP API, as the commands use it. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { shorten } from "./text.ts";

/** No Kelpie answers at the address. */
export class ServerUnreachableError extends Error {
  override readonly name = "ServerUnreachableError";
}

/** The server answered, and refused. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The stream ended before its run did: what is missing can be asked for again. */
export class StreamCutError extends Error {
  override readonly name = "StreamCutError";
}

/** A message of a stream or a list, as the API writes it. */
export interface ApiMessage {
  readonly message_type: string;
  readonly id?: string;
  readonly run_id?: string | null;
  readonly seq_id?: number | null;
  readonly [field: string]: unknown;
}

type Query = Readonly<Record<string, string | number | undefined>>;

export class ApiClient {
  readonly url: string;
  readonly #key: string | undefined;

  constructor(url: string, key: string | undefined) {
    this.url = url.replace(/\/+$/, "");
    this.#key = key;
  }

  /** The headers that show the key. */
  get authorization(): Record<string, string> {
    return this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` };
  }

  /** @throws {ServerUnreachableError} @throws {ApiError} */
  async request<T>(
    method: string,
    path: string,
    options: { readonly query?: Query; readonly body?: unknown; readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    const response = await this.#send(method, path, options);
    if (response.status === 204) return undefined as T;
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw new ServerUnreachableError(`${this.url} did not finish its answer to ${method} ${path}`, { cause: error });
    }
  }

  /**
   * The messages of an event stream, until its `[DONE]`.
   *
   * @throws {StreamCutError} It ended early. @throws {ServerUnreachableError} @throws {ApiError}
   */
  async *stream(path: string, body: unknown, signal: AbortSignal): AsyncGenerator<ApiMessage> {
    const response = await this.#send("POST", path, { body, signal });
    try {
      const events = response.body!.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
      for await (const event of events) {
        if (event.data === "[DONE]") return;
        yield JSON.parse(event.data) as ApiMessage;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      throw new StreamCutError(`The connection to ${this.url} broke`, { cause: error });
    }
    throw new StreamCutError(`${this.url} ended the stream before the run was done`);
  }

  async #send(
    method: string,
    path: string,
    options: { readonly query?: Query; readonly body?: unknown; readonly signal?: AbortSignal },
  ): Promise<Response> {
    const url = new URL(this.url + path);
    for (const [name, value] of Object.entries(options.query ?? {})) if (value !== undefined) url.searchParams.append(name, String(value));
    const headers: Record<string, string> = { accept: "application/json, text/event-stream", ...this.authorization };
    if (options.body !== undefined) headers["content-type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        headers,
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      if (options.signal?.aborted === true) throw error;
      throw new ServerUnreachableError(unreachable(this.url, error), { cause: error });
    }
    if (!response.ok) throw new ApiError(response.status, await refusalOf(response, method, path));
    return response;
  }
}

/** The reason that a server gives, in any of the shapes of the API's errors. */
async function refusalOf(response: Response, method: string, path: string): Promise<string> {
  const said = refusalText(response.status, await response.text().catch(() => ""));
  return said === "" ? `${method} ${path} was answered with ${response.status} and no reason` : said;
}

/** What the body of a refusal says, and how to get over it. */
export function refusalText(status: number, body: string): string {
  const said = messageIn(body);
  return status === 401 ? `${said}: set KELPIE_API_KEY to the key of this server` : said;
}

/** Why there was no answer at all. */
export function unreachable(url: string, error: unknown): string {
  return `No Kelpie answers at ${url}: ${causeOf(error)}`;
}

function messageIn(text: string): string {
  try {
    const body = JSON.parse(text) as { detail?: unknown; error?: { message?: unknown } };
    const said = body.detail ?? body.error?.message;
    return typeof said === "string" ? said : JSON.stringify(said ?? body);
  } catch {
    // Not JSON: something else than Kelpie may be listening there, and its own words say most.
    return shorten(text, 300);
  }
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  if (cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED") return "nothing listens there";
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
