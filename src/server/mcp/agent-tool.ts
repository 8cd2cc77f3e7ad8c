/** A tool that Kelpie offers over MCP, as a value: what its callers are told, what it takes, and what it does. */
import type { z } from "@hono/zod-openapi";
import type { ToolAnnotations } from "@modelcontextprotocol/server";
import { agents as agentRows, type AgentRecord } from "../../agents/agent.ts";
import { show } from "../http-error.ts";
import type { Services } from "../services.ts";

/** Who calls, and how to tell it that the work goes on. */
export interface ToolCaller {
  readonly project: string;
  /** The same for the same call that comes again, where the caller says so. */
  readonly effectId: string | undefined;
  /** Aborts when the caller waits no more, or the server stops. */
  readonly signal: AbortSignal;
  /** Says what is being done. Does nothing for a caller that did not ask for it. */
  progress(message: string): Promise<void>;
}

export interface AgentTool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly input: z.ZodObject;
  /** Of what `run` gives; absent where that is text. */
  readonly output?: z.ZodObject | undefined;
  readonly annotations: ToolAnnotations;
  /** @throws {ToolRefusal} and what the services throw */
  readonly run: (services: Services, input: never, caller: ToolCaller) => Promise<ToolOutput>;
}

/** Text for a model to read, or fields. */
export type ToolOutput = string | { readonly [field: string]: unknown };

/** Ties a tool's input and output to what it does. */
export function agentTool<Input extends z.ZodObject, Output extends z.ZodObject | undefined = undefined>(
  tool: Omit<AgentTool, "input" | "output" | "run"> & {
    readonly input: Input;
    readonly output?: Output;
    readonly run: (
      services: Services,
      input: z.output<Input>,
      caller: ToolCaller,
    ) => Promise<Output extends z.ZodObject ? z.output<Output> : string>;
  },
): AgentTool {
  return tool;
}

/** A call cannot be done. The message says why, and what the model that made it can do. */
export class ToolRefusal extends Error {
  override readonly name = "ToolRefusal";
}

/** The agent with this id or this exact name. @throws {ToolRefusal} */
export async function findAgent({ store, agents }: Services, project: string, idOrName: string): Promise<AgentRecord> {
  const [byId] = await agentRows.read(store, project, [idOrName]);
  if (byId !== undefined) return byId;
  const named = (await agents.page(project, { name: idOrName }, { limit: 2 })) ?? [];
  if (named.length > 1) throw new ToolRefusal(`Several agents are called ${show(idOrName)}: name one by its id, which list_agents shows`);
  if (named[0] === undefined) throw new ToolRefusal(`There is no agent ${show(idOrName)}: list_agents shows those there are`);
  return named[0];
}

/** The beginning of a text that is too long to be given whole. */
export function cut(text: string, charactersMax: number, whereTheRestIs: string): string {
  if (text.length <= charactersMax) return text;
  return `${text.slice(0, charactersMax).toWellFormed()}\n… ${text.length - charactersMax} more characters: ${whereTheRestIs}`;
}
