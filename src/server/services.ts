import type { AgentDirectory } from "../agents/agent-directory.ts";
import type { AgentEnvironment } from "../agents/conversation-environment.ts";
import type { ConversationService } from "../agents/conversation-service.ts";
import type { Actors, ActorType } from "../actors/actor.ts";
import type { ModelCatalogue } from "../models/model-catalogue.ts";

/** Everything that the API is made of, put together by `kelpie.ts`. */
export interface Services extends Omit<AgentEnvironment, "work" | "callback"> {
  readonly models: ModelCatalogue;
  readonly actors: Actors;
  /** Those that may be called over HTTP, by their `type`. */
  readonly actorTypes: ReadonlyMap<string, ActorType>;
  readonly agents: AgentDirectory;
  readonly conversations: ConversationService;
}
