/**
 * Several nodes as one Kelpie: who lives, where actors are, and how a message reaches them.
 *
 * C1. A member row belongs to one incarnation of a node: a restarted process is a new member. `dead` is final.
 * C2. A member is declared dead only by compare-and-set on a version that the observer has seen unchanged, on its own
 *     monotonic clock, for longer than the member's lease could run on the member's clock; or by its own supervisor,
 *     which has seen it exit.
 * C3. Whether an actor may commit is its header's affair (actors A1). Leases decide who may try, and who may answer
 *     from memory; no clock decides who may write.
 * C4. An answer from memory is given only while the lease is valid on the node's own clock, counted from before its
 *     renewal was sent; otherwise it is validated against the header first.
 * C5. Placement is a hint: rendezvous hashing over the members that are up, weighted by capacity. Whoever loses the race
 *     for a header follows the winner, at most `hopsMax` times.
 * C6. A hand-over is one compare-and-set by the node that takes over. A node that drains takes nothing new.
 */
import type { Placement } from "../actors/placement.ts";
import type { ProcessIdentity } from "../actors/process-table.ts";
import type { NodeAddress } from "./transport.ts";

export type MemberState = "joining" | "up" | "draining" | "dead";

/** A node, as the others see it. Row: `("", "member", node)`. */
export interface Member {
  /** This incarnation: unique for ever. */
  readonly node: string;
  /** What people call the node; one living member at a time has a name. */
  readonly name: string;
  readonly state: MemberState;
  readonly address: NodeAddress | null;
  /** Relative share of actors: above 0. */
  readonly capacity: number;
  readonly wire: { readonly min: number; readonly max: number };
  readonly schema: { readonly min: number; readonly max: number };
  /** It speaks TLS with other nodes, as all of a cluster do or none. Absent: it does not. */
  readonly isSecure?: boolean;
  /** Grows with each renewal, so that a renewal changes the row. */
  readonly beat: number;
  /** The process, for others on its host, which see it end. */
  readonly process?: ProcessIdentity;
  readonly joinedAt: number;
}

/** In milliseconds. */
export interface ClusterTimings {
  readonly lease: number;
  readonly renew: number;
  /** Share by which the rates of two monotonic clocks may differ. */
  readonly rateError: number;
  readonly margin: number;
}

export const defaultTimings: ClusterTimings = { lease: 5_000, renew: 1_250, rateError: 0.01, margin: 250 };

export const hopsMax = 2;

/** How long an observer must have seen a member unchanged (C2). */
export function evictionMilliseconds({ lease, rateError, margin }: ClusterTimings): number {
  return (lease * (1 + rateError)) / (1 - rateError) + margin;
}

/** Placement over a cluster: what actors need, and what forwarding needs. */
export interface ClusterPlacement extends Placement {
  /** The members that are not dead, as last seen. */
  readonly members: readonly Member[];
  /**
   * The member that should take an actor that nobody has: one that is up. `schema`: and that can read the actor.
   * `affinity`: that node, if it can be. `except`: another one.
   */
  choose(actorName: string, options?: ChooseOptions): Member | undefined;
}

export interface ChooseOptions {
  readonly schema?: number;
  readonly affinity?: string | undefined;
  readonly except?: string | undefined;
}

/** Another node with this name is alive. Start this one under another name, or stop the other. */
export class NodeNameTakenError extends Error {
  override readonly name = "NodeNameTakenError";
}

/** A living node and this one have no version in common. Says which of them must be updated. */
export class IncompatibleNodeError extends Error {
  override readonly name = "IncompatibleNodeError";
}

/** The others take this node to be dead: it must stop, and start again as a new member. */
export class NodeFencedError extends Error {
  override readonly name = "NodeFencedError";
}
