import type { ActorId } from "../actors/actor.ts";
import { actorName } from "../actors/actor-id.ts";
import type { ActorRuntime } from "../actors/actor-runtime.ts";
import { TokenBucket } from "../actors/token-bucket.ts";
import type { Environment } from "../environment/environment.ts";
import type { MemberPlacement } from "./cluster-placement.ts";
import type { Membership } from "./membership.ts";
import type { Migration } from "./migration.ts";

/** Actors that are on their way at one time: most of them wait for what they do to come to a good point. */
const movingMax = 256;
/** Before what is left is looked at again, and a node that has no room is asked again. */
const pauseMilliseconds = 50;
/** Actors that move for the sake of balance after nodes have come, and how many of them a second. */
const rebalancedMax = 10_000;
const rebalancedPerSecond = 100;

export interface MoveParts {
  readonly environment: Environment;
  readonly membership: Membership;
  readonly placement: MemberPlacement;
  readonly runtime: ActorRuntime;
  readonly migration: Migration;
}

export interface DrainReport {
  readonly moved: number;
  /** Still in memory: there was no node for them, or no time. */
  readonly left: number;
}

/**
 * Takes no more actors, and moves those in memory to other nodes, as fast as these take them. Actors at rest just leave
 * memory: whoever is called for one afterwards gives it away then.
 *
 * Ends when none is left, when no other node is up, or when `signal` aborts.
 */
export async function drain(parts: MoveParts, signal: AbortSignal): Promise<DrainReport> {
  await parts.membership.drain();
  return await moveAll(parts, signal);
}

/** As `drain` does, at a node that drains already. */
export async function moveAll(parts: MoveParts, signal: AbortSignal): Promise<DrainReport> {
  const { environment, placement, runtime } = parts;
  environment.probe("cluster.draining");
  const moving = new Set<string>();
  let moved = 0;
  const move = async (id: ActorId): Promise<void> => {
    const name = actorName(id);
    moving.add(name);
    if (await moveAway(parts, id)) moved++;
    moving.delete(name);
  };
  while (runtime.live > 0 && !signal.aborted && placement.choose("") !== undefined) {
    for (const { id, isBusy } of runtime.activations()) {
      if (moving.size === movingMax) break;
      if (moving.has(actorName(id))) continue;
      if (isBusy) void move(id);
      else runtime.evict(id);
    }
    // What is left is on its way, is about to leave memory, or waits for a node with room.
    await environment.clock.sleep(pauseMilliseconds, signal);
  }
  return { moved, left: runtime.live };
}

async function moveAway({ placement, migration }: MoveParts, id: ActorId): Promise<boolean> {
  const target = placement.choose(actorName(id));
  if (target === undefined || !(await migration.isAdmitted(target))) return false;
  return (await migration.move(id, target, { wake: true })) !== undefined;
}

/** Moves actors in memory to nodes that have come, slowly. What is not in memory moves when it is next called. */
export class Rebalancer {
  readonly #parts: MoveParts;
  readonly #bucket: TokenBucket;
  readonly #stop = new AbortController();
  #isWanted = false;
  #isRunning = false;

  constructor(parts: MoveParts) {
    this.#parts = parts;
    this.#bucket = new TokenBucket(parts.environment.clock, rebalancedPerSecond);
  }

  /** Nodes have come. */
  want(): void {
    this.#isWanted = true;
    if (!this.#isRunning) void this.#run();
  }

  stop(): void {
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { environment, membership } = this.#parts;
    const { signal } = this.#stop;
    this.#isRunning = true;
    while (this.#isWanted && !signal.aborted) {
      this.#isWanted = false;
      // Nodes often come several together, and sometimes leave at once.
      await environment.clock.sleep(2 * membership.timings.renew, signal);
      if (!signal.aborted) await this.#pass();
    }
    this.#isRunning = false;
  }

  async #pass(): Promise<void> {
    const { placement, runtime } = this.#parts;
    const { signal } = this.#stop;
    const misplaced: { readonly id: ActorId; readonly isBusy: boolean }[] = [];
    for (const activation of runtime.activations()) {
      const target = placement.choose(actorName(activation.id));
      if (target !== undefined && target.node !== placement.node) misplaced.push(activation);
      if (misplaced.length === rebalancedMax) break;
    }
    const moving = new Set<Promise<void>>();
    for (const activation of misplaced) {
      await this.#bucket.take(signal);
      if (moving.size === movingMax) await Promise.race(moving);
      if (signal.aborted) return;
      const { id } = activation;
      // Things may have changed since the pass began.
      const target = placement.choose(actorName(id));
      if (!placement.isUp || target === undefined || target.node === placement.node || !runtime.has(id)) continue;
      if (!activation.isBusy) runtime.evict(id);
      else {
        const move = this.#move(id).finally(() => moving.delete(move));
        moving.add(move);
      }
    }
    await Promise.all(moving);
  }

  async #move(id: ActorId): Promise<void> {
    if (await moveAway(this.#parts, id)) this.#parts.environment.probe("cluster.rebalanced");
  }
}
