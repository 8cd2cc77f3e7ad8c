/** What an agent may call. */
import type { Json } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { ResultImage } from "../models/model.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";

/**
 * - `state`: changes only rows of the store, through its transaction: its effect and its result are one batch, exactly once.
 * - `readOnly`: no effect outside; may be called again after a crash.
 * - `idempotent`: has an effect, but calling again with the same effect id does nothing more.
 * - `once`: has an effect that must not be repeated; after a crash in the middle its outcome is unknown.
 */
export type EffectClass = "state" | "readOnly" | "idempotent" | "once";

export type Tool = StateTool | OutsideTool;

interface ToolBase {
  /** 1 to 64 characters of `a-z A-Z 0-9 _ -`, as model providers ask. */
  readonly name: string;
  readonly description: string;
  /** JSON Schema of an object. */
  readonly parameters: Json;
  /** Longer results are an error that says so, never cut. In characters; 50,000 by default. */
  readonly returnCharactersMax?: number;
}

export interface StateTool extends ToolBase {
  readonly effect: "state";
  /** May run several times before its transaction commits, so it does nothing else. */
  execute(input: ToolInput, context: StateToolContext): Promise<ToolResult>;
}

export interface OutsideTool extends ToolBase {
  readonly effect: "readOnly" | "idempotent" | "once";
  /** In milliseconds; 180,000 by default. */
  readonly timeoutMilliseconds?: number;
  execute(input: ToolInput, context: OutsideToolContext): Promise<ToolResult>;
  /**
   * For a tool that can find out what became of a call: asked after a crash about one under `context.effectId` that was begun
   * and of which no answer was seen, before it is given up as unknown. What it throws counts as `unknown`.
   */
  reconcile?(input: ToolInput, context: OutsideToolContext): Promise<Reconciled>;
}

/** `didNotHappen`: nor can it happen any more, so that the call is made again, under the same effect id. */
export type Reconciled =
  | { readonly outcome: "succeeded"; readonly result: ToolResult }
  | { readonly outcome: "didNotHappen" }
  | { readonly outcome: "unknown" };

/** The arguments that the model gave: a JSON object, valid against `parameters` on its first level. */
export type ToolInput = { readonly [name: string]: Json | undefined };

export interface StateToolContext {
  readonly transaction: Transaction;
  readonly store: Store;
  readonly environment: Environment;
  readonly project: string;
  readonly agentId: string;
  /** `default`, or the conversation's id. */
  readonly conversationId: string;
  /**
   * Puts a message of this agent into the conversation of another one, in the batch of the tool's result: it is handled
   * exactly once, as soon as that agent is free. `refused` says why not.
   */
  sendToAgent(agentId: string, message: string): Promise<{ readonly refused?: string }>;
}

export interface OutsideToolContext {
  /** Stable across restarts: pass it on as the idempotency key. */
  readonly effectId: string;
  readonly signal: AbortSignal;
  readonly project: string;
  readonly agentId: string;
  readonly conversationId: string;
  /** Of the agent, by the names of the variables that code has them in. None for a call outside of an agent. */
  readonly secrets?: { readonly [name: string]: string };
  /**
   * Calls another tool of the agent as the model would, within the same step. One that a person has to be asked for is an
   * error, and so is any call of a tool that is not `once` itself. There is none for a call outside of a run.
   */
  readonly callTool?: (name: string, input: ToolInput, signal: AbortSignal) => Promise<ToolResult>;
}

/** `status: "error"` is a result that the model sees and can act on. A thrown error is one too, with its message. */
export interface ToolResult {
  readonly status: "success" | "error";
  readonly text: string;
  /** What a model that looks at images sees beside the text. Few and small: they are kept with the message. */
  readonly images?: readonly ResultImage[];
  /** What code wrote beside its result: for people, the model does not see it. */
  readonly stdout?: string;
  readonly stderr?: string;
}

/** A call that was made and of which nobody can say whether it took effect. Thrown by a tool; never repeated by itself. */
export class OutcomeUnknownError extends Error {
  override readonly name = "OutcomeUnknownError";
}
