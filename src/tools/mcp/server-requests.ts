/** What a server asks of Kelpie while it works on calls: answered as far as its owner grants it, and bounded. */
import {
  type Client,
  type ClientCapabilities,
  type ClientContext,
  type CreateMessageResult,
  type ElicitRequest,
  type ElicitResult,
  ProtocolError,
  ProtocolErrorCode,
} from "@modelcontextprotocol/client";
import type { Environment } from "../../environment/environment.ts";
import type { Models } from "../../models/model.ts";
import { type McpGrants, mcpLimits, type McpRoot } from "./mcp.ts";
import type { CallUnderWay } from "./questions.ts";
import { refusal, sample } from "./sampling.ts";

/** Asks a person what a server wants to know. Aborts with the call that it is for. */
export type Ask = (calls: readonly CallUnderWay[], question: ElicitRequest["params"], signal: AbortSignal) => Promise<ElicitResult>;

export interface ServerRequestsOptions {
  /** What people call the server. */
  readonly name: string;
  readonly grants: McpGrants;
  /** As they are now. */
  readonly roots: () => readonly McpRoot[];
  readonly environment: Environment;
  readonly models: Pick<Models, "open"> | undefined;
  /** Absent: nobody can be asked. */
  readonly ask: Ask | undefined;
}

/** Of the calls that a server works on, a question names so many. */
const callsNamedMax = 20;

/** Of one connection, which the calls of many agents share. */
export class ServerRequests {
  readonly capabilities: ClientCapabilities;
  readonly #options: ServerRequestsOptions;
  readonly #calls = new Set<CallUnderWay>();
  #samplesLeft = 0;
  #sampling = 0;
  #asking = 0;
  #answeredAt = -Infinity;

  constructor(options: ServerRequestsOptions) {
    this.#options = options;
    const { ask, grants, models } = options;
    this.capabilities = {
      ...(grants.roots == null ? {} : { roots: { listChanged: true } }),
      ...(models === undefined || grants.sampling_model == null ? {} : { sampling: {} }),
      ...(ask === undefined ? {} : { elicitation: { form: { applyDefaults: true }, ...(grants.elicitation === true ? { url: {} } : {}) } }),
    };
  }

  /** Whether the server has waited for Kelpie since then, so that its own silence says nothing. */
  wasWaiting(since: number): boolean {
    return this.#sampling + this.#asking > 0 || this.#answeredAt >= since;
  }

  listen(client: Client): void {
    const { ask, roots } = this.#options;
    if (this.capabilities.roots !== undefined)
      client.setRequestHandler("roots/list", () => ({
        roots: roots().map(({ uri, name }) => ({ uri, ...(name == null ? {} : { name }) })),
      }));
    if (this.capabilities.sampling !== undefined)
      client.setRequestHandler("sampling/createMessage", async ({ params }, context) => await this.#sample(params, context));
    if (ask !== undefined)
      client.setRequestHandler("elicitation/create", async ({ params }, context) => await this.#ask(ask, params, context));
    client.fallbackRequestHandler = async ({ method }) => {
      const grant = { "sampling/createMessage": "sampling_model", "elicitation/create": "elicitation" }[method];
      const why = grant === undefined ? "" : `: this server may not ask for that, unless its owner sets grants.${grant} of its record`;
      throw new ProtocolError(ProtocolErrorCode.MethodNotFound, `Method not found${why}`);
    };
  }

  /** Until the end that it gives, the server may ask on behalf of this call. */
  begin(call: CallUnderWay): () => void {
    this.#calls.add(call);
    this.#samplesLeft += mcpLimits.samplesPerCall;
    return () => {
      this.#calls.delete(call);
      this.#samplesLeft = Math.min(this.#samplesLeft, this.#calls.size * mcpLimits.samplesPerCall);
    };
  }

  async #sample(params: Parameters<typeof sample>[2], context: ClientContext): Promise<CreateMessageResult> {
    const { name, grants, models, environment } = this.#options;
    if (this.#samplesLeft === 0) throw refusal(`A server gets at most ${mcpLimits.samplesPerCall} samples for a call`);
    if (this.#sampling >= mcpLimits.samplesAtOnce) throw refusal(`A server gets at most ${mcpLimits.samplesAtOnce} samples at once`);
    this.#samplesLeft--;
    this.#sampling++;
    const late = new AbortController();
    const stopWatch = environment.clock.schedule(mcpLimits.sampleMilliseconds, () => late.abort());
    try {
      const signal = AbortSignal.any([context.mcpReq.signal, late.signal]);
      const { result, usage } = await sample(models!, grants.sampling_model!, params, signal);
      environment.log.write("info", "A model answered an MCP server", { server: name, model: result.model, ...usage });
      return result;
    } finally {
      stopWatch();
      this.#sampling--;
      this.#answeredAt = environment.clock.elapsed();
    }
  }

  async #ask(ask: Ask, params: ElicitRequest["params"], context: ClientContext): Promise<ElicitResult> {
    if (this.#calls.size === 0) throw refusal("A server asks a person only while it works on a call");
    if (this.#asking >= mcpLimits.questionsAtOnce) throw refusal(`A server has at most ${mcpLimits.questionsAtOnce} questions at once`);
    this.#asking++;
    try {
      return await ask([...this.#calls].slice(0, callsNamedMax), params, context.mcpReq.signal);
    } finally {
      this.#asking--;
      this.#answeredAt = this.#options.environment.clock.elapsed();
    }
  }
}
