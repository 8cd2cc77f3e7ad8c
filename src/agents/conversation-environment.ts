import type { Environment } from "../environment/environment.ts";
import type { Models } from "../models/model.ts";
import type { Store } from "../storage/store.ts";
import type { FindSealingKey } from "../storage/stored-secret.ts";
import type { CallLimiter } from "../tools/call-limiter.ts";
import type { ToolRegistry } from "../tools/tool-registry.ts";
import type { ConversationAddress } from "./conversation.ts";
import type { Callback } from "./run-callback.ts";
import type { RunFeeds } from "./run-events.ts";
import type { RunWork } from "./run-work.ts";

/** What agents need of the layers below. */
export interface AgentEnvironment {
  readonly store: Store;
  readonly environment: Environment;
  readonly models: Models;
  readonly tools: ToolRegistry;
  readonly feeds: RunFeeds;
  readonly work: RunWork;
  readonly callback: Callback;
  readonly sealingKey: FindSealingKey;
  readonly limiter: CallLimiter;
}

/** The same for one conversation. */
export interface ConversationEnvironment extends AgentEnvironment {
  readonly address: ConversationAddress;
}
