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
  readonly annotations: ToolAnnotations;
  /** Gives the text of the result. @throws {ToolRefusal} and what the services throw */
  readonly run: (services: Services, input: never, caller: ToolCaller) => Promise<string>;
}

/** Ties a tool's input to what it does with it. */
export function agentTool<Input extends z.ZodObject>(
  tool: Omit<AgentTool, "input" | "run"> & {
    readonly input: Input;
    readonly run: (services: Services, input: z.output<Input>, caller: ToolCaller) => Promise<string>;
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
