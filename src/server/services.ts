import type { AgentDirectory } from "../agents/agent-directory.ts";
import type { AgentEnvironment } from "../agents/conversation-environment.ts";
import type { ConversationService } from "../agents/conversation-service.ts";
import type { Actors, ActorType } from "../actors/actor.ts";
import type { Member } from "../cluster/cluster.ts";
import type { StoreDescriptor } from "../cluster/join.ts";
import type { NodeOperations } from "../cluster/node-operations.ts";
import type { ModelCatalogue } from "../models/model-catalogue.ts";
import type { McpTools } from "../tools/mcp/mcp-tools.ts";
import type { StoredProviders } from "./providers.ts";

/** The cluster, as this node of it sees it. */
export interface ClusterView {
  /** This node. */
  readonly node: string;
  /** It gives its actors away, and is about to leave. */
  readonly isDraining: boolean;
  /** Those that are not dead, this one among them. */
  readonly members: readonly Member[];
  readonly store: StoreDescriptor;
  readonly operations: Pick<NodeOperations, "status" | "drain" | "undoDrain">;
}

/** Everything that the API is made of, put together by `kelpie.ts`. */
export interface Services extends Omit<AgentEnvironment, "work" | "callback" | "limiter"> {
  readonly models: ModelCatalogue;
  /** Those that were added through the API. */
  readonly providers: StoredProviders;
  readonly mcp: McpTools;
  readonly actors: Actors;
  /** Those that may be called over HTTP, by their `type`. */
  readonly actorTypes: ReadonlyMap<string, ActorType>;
  readonly agents: AgentDirectory;
  readonly conversations: ConversationService;
  /** Absent: this node is alone. */
  readonly cluster?: ClusterView | undefined;
}
