/** What is asked of the server before the clients begin, and after they have ended. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApiMessage, FinalState } from "./checker.ts";

export interface ApiEffect {
  readonly effect_id: string;
  readonly agent_id: string;
  readonly tool_name: string;
  readonly tool_call_id: string;
}

export class Api {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, apiKey?: string) {
    this.#url = url;
    this.#headers = { "content-type": "application/json", ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) };
  }

  /** An agent of the model of `World`, with a block for its facts. Gives its id. */
  async createAgent(name: string, tools: readonly string[] = [], toolIds: readonly string[] = []): Promise<string> {
    const memory_blocks = [{ label: "facts", value: "Facts:" }];
    const body = { name, model: "openai/scripted", memory_blocks, tools, tool_ids: toolIds };
    const agent = (await this.call("POST", "/v1/agents/", body)) as { readonly id: string };
    return agent.id;
  }

  /** Adds the MCP server that counts at `counter`, and says which of its tools knows of another one's calls. Gives the ids of its tools. */
  async addCountingServer(counter: string): Promise<readonly string[]> {
    const args = [join(import.meta.dirname, "counting-mcp-server.ts")];
    const config = { mcp_server_type: "stdio", command: process.execPath, args, env: { COUNTER: counter } };
    const server = (await this.call("POST", "/v1/mcp-servers", { server_name: "counting", config })) as { readonly id: string };
    const path = `/v1/mcp-servers/${server.id}/tools`;
    const tools = (await this.call("GET", path)) as readonly { readonly id: string; readonly name: string }[];
    const checked = tools.find(({ name }) => name === "counting__checked")!;
    await this.call("PATCH", `/v1/tools/${checked.id}`, { metadata_: { reconcile: "counting__counted" } });
    return tools.map(({ id }) => id);
  }

  /** Of all agents. */
  async unknownEffects(): Promise<readonly ApiEffect[]> {
    return (await this.call("GET", "/v1/effects?limit=1000")) as readonly ApiEffect[];
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
