import type { Actors, ActorType } from "../actors/actor.ts";
import type { RunFeeds } from "../agents/run-events.ts";
import type { Environment } from "../environment/environment.ts";
import type { ModelCatalogue } from "../models/model-catalogue.ts";
import type { Store } from "../storage/store.ts";

/** Everything that the API is made of, put together by `kelpie.ts`. */
export interface Services {
  readonly environment: Environment;
  readonly store: Store;
  readonly actors: Actors;
  /** Those that may be called over HTTP, by their `type`. */
  readonly actorTypes: ReadonlyMap<string, ActorType>;
  readonly models: ModelCatalogue;
  /** The live ends of the runs that this node works on. */
  readonly feeds: RunFeeds;
}
