import type { Environment } from "../environment/environment.ts";
import type { Models } from "../models/model.ts";
import type { Store } from "../storage/store.ts";
import type { ToolRegistry } from "../tools/tool-registry.ts";
import type { ConversationAddress } from "./conversation.ts";
import type { RunFeeds } from "./run-events.ts";

/** What agents need of the layers below. */
export interface AgentEnvironment {
  readonly store: Store;
  readonly environment: Environment;
  readonly models: Models;
  readonly tools: ToolRegistry;
  readonly feeds: RunFeeds;
}

/** The same for one conversation. */
export interface ConversationEnvironment extends AgentEnvironment {
  readonly address: ConversationAddress;
}
