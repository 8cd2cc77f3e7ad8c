import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import type { ActorLimits } from "./limits.ts";
import type { Placement } from "./placement.ts";
import type { ReminderSharing } from "./reminder-scheduler.ts";

/** How nodes share the reminders and the inboxes: by slots. */
export interface NodeSharing extends ReminderSharing {
  /** Makes an actor look into its inbox, at the node that has it. */
  lookIntoInbox(id: ActorId): Promise<void>;
}

/** What every activation of a node shares. */
export interface ActorServices {
  readonly store: Store;
  readonly environment: Environment;
  readonly placement: Placement;
  readonly limits: ActorLimits;
  /** Told about each reminder that has become durable. */
  reminderSet(id: ActorId, due: number): void;
  /** Told about each actor to which a message was sent, when that is durable. */
  messageSent(to: ActorId): void;
  /** @throws {UnknownActorTypeError} There are no such actors here. */
  assertType(id: ActorId): void;
}
