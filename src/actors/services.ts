import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import type { ActorLimits } from "./limits.ts";
import type { Placement } from "./placement.ts";

/** What every activation of a node shares. */
export interface ActorServices {
  readonly store: Store;
  readonly environment: Environment;
  readonly placement: Placement;
  readonly limits: ActorLimits;
  /** Told about each reminder that has become durable. */
  reminderSet(id: ActorId, due: number): void;
}
