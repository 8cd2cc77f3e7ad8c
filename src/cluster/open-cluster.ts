/** Puts the parts of a node of a cluster together. */
import type { ActorId } from "../actors/actor.ts";
import { ActivationLostError } from "../actors/actor.ts";
import type { ActorLimits } from "../actors/limits.ts";
import type { Environment } from "../environment/environment.ts";
import { CallTable } from "./call-table.ts";
import type { ClusterTimings, Member, NodeFencedError } from "./cluster.ts";
import { ClusterActors } from "./cluster-actors.ts";
import { MemberPlacement } from "./cluster-placement.ts";
import { type DrainReport, Rebalancer } from "./drain.ts";
import { Membership, type MembershipListener, type MembershipOptions, type VersionRange, type Witness } from "./membership.ts";
import { NodeDrain } from "./node-drain.ts";
import { NodeOperations } from "./node-operations.ts";
import type { Transport } from "./transport.ts";
import type { ErrorClass } from "./wire-errors.ts";

export interface ClusterOptions {
  readonly store: MembershipOptions["store"];
  readonly environment: Environment;
  /** Makes the transport of this incarnation, called by the name that other nodes know it by. The cluster closes it. */
  readonly transport: (node: string) => Transport;
  /** What people call this node: 1 to 63 characters of `a-z A-Z 0-9 . _ -`; one living node at a time has it. */
  readonly name: string;
  /** Relative share of the actors; 1 by default. */
  readonly capacity?: number;
  readonly timings?: ClusterTimings;
  readonly wire?: VersionRange;
  readonly schema?: VersionRange;
  /** Sees nodes of this host end, so that they are dead at once. */
  readonly witness?: Witness;
  /** Whether the transport speaks TLS; not by default. */
  readonly isSecure?: boolean;
  /** `strict`: no answer depends on a clock; each one that needs no commit costs a read. `lease` by default. */
  readonly reads?: "lease" | "strict";
  readonly limits?: Partial<ActorLimits>;
  /** Errors that actors throw, so that callers at other nodes can tell them apart. */
  readonly errors?: readonly ErrorClass[];
  /** The node on which an actor would find what it needs, such as its sandbox. */
  readonly affinity?: (id: ActorId) => string | undefined;
  /** The others take this node to be dead: everything here has ended, and the process must exit and start anew. */
  readonly onFenced: (reason: NodeFencedError) => void;
}

export interface Cluster extends AsyncDisposable {
  /** This incarnation's name. */
  readonly node: string;
  readonly actors: ClusterActors;
  readonly placement: MemberPlacement;
  readonly membership: Membership;
  readonly transport: Transport;
  /** What other nodes may ask; more can be added before `start`. */
  readonly calls: CallTable;
  /** What a person does with nodes. */
  readonly operations: NodeOperations;
  /** The members that are not dead, as last seen. */
  readonly members: readonly Member[];
  /** Listens, joins, and takes actors. Register their types first. @throws {NodeNameTakenError} @throws {IncompatibleNodeError} */
  start(): Promise<void>;
  /** Moves this node's actors to others, for a minute at most, before it is closed: until then it goes on to answer. */
  drain(signal?: AbortSignal): Promise<DrainReport>;
}

export function openCluster(options: ClusterOptions): Cluster {
  const { store, environment, limits, errors, affinity } = options;
  const membership = new Membership(options);
  const transport = options.transport(membership.node);
  const calls = new CallTable();
  const listener: MembershipListener = {
    membersChanged: ({ up, died }) => {
      actors.membersChanged(died);
      actors.runtime.slotsMoved({ early: died.length > 0 });
      if (placement.isUp && up.some((member) => member.node !== membership.node)) rebalancer.want();
    },
    fenced: (reason) => {
      rebalancer.stop();
      actors.runtime.fence(new ActivationLostError(reason.message, { cause: reason }));
      options.onFenced(reason);
    },
    generationChanged: () => {
      environment.log.write("warn", "The store's history may have gone back: all activations start anew");
      actors.runtime.endAll(new ActivationLostError("The store's history may have gone back, so this activation cannot be believed"));
    },
  };
  const placement = new MemberPlacement(membership, {
    listen: async () => await transport.listen(calls),
    listener,
    readsStrictly: options.reads === "strict",
  });
  const actors = new ClusterActors({ store, environment, membership, placement, transport, calls, limits, errors, affinity });
  const moveParts = { environment, membership, placement, runtime: actors.runtime, migration: actors.migration };
  const rebalancer = new Rebalancer(moveParts);
  const nodeDrain = new NodeDrain(moveParts);
  const operations = new NodeOperations({ membership, transport, runtime: actors.runtime, drain: nodeDrain, calls });

  return {
    node: membership.node,
    actors,
    placement,
    membership,
    transport,
    calls,
    operations,
    get members() {
      return membership.members;
    },
    start: async () => {
      await actors.runtime.start();
      await membership.ready();
    },
    drain: async (signal) => await nodeDrain.leave(signal),
    [Symbol.asyncDispose]: async () => {
      rebalancer.stop();
      // Ends the actors, and then says that the node is gone.
      await actors[Symbol.asyncDispose]();
      await transport[Symbol.asyncDispose]();
    },
  };
}
