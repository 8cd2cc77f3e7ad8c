/** What is asked of the server before the clients begin, and after they have ended. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ApiMessage, FinalState } from "./checker.ts";

export class Api {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, apiKey?: string) {
    this.#url = url;
    this.#headers = { "content-type": "application/json", ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) };
  }

  /** An agent of the model of `World`, with a block for its facts. Gives its id. */
  async createAgent(name: string, tools: readonly string[] = []): Promise<string> {
    const body = { name, model: "openai/scripted", memory_blocks: [{ label: "facts", value: "Facts:" }], tools };
    const agent = (await this.call("POST", "/v1/agents/", body)) as { readonly id: string };
    return agent.id;
  }

  /** Waits until no run is in progress. */
  async settle(): Promise<void> {
    for (let attempt = 0; attempt < 600; attempt++) {
      const active = (await this.call("GET", "/v1/runs/?active=true&limit=10")) as readonly unknown[];
      if (active.length === 0) return;
      await sleep(100);
    }
    throw new Error("Runs are still in progress a minute after the last request");
  }

  async finalState(agentId: string): Promise<FinalState> {
    const messages: ApiMessage[] = [];
    for (;;) {
      const last = messages.at(-1)?.id;
      const page = (await this.call(
        "GET",
        `/v1/agents/${agentId}/messages?order=asc&limit=100${last === undefined ? "" : `&after=${last}`}`,
      )) as readonly ApiMessage[];
      if (page.length === 0) break;
      messages.push(...page);
    }
    const block = (await this.call("GET", `/v1/agents/${agentId}/core-memory/blocks/facts`)) as { readonly value: string };
    return { messages, facts: block.value };
  }

  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.#url + path, {
      method,
      headers: this.#headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
    return await response.json();
  }
}
