import { drain, type DrainReport, moveAll, type MoveParts } from "./drain.ts";

/** How long a node that is about to leave moves actors, before the rest is left to stop as at any stop. */
const leaveMilliseconds = 60_000;

/** Why a node does not do what it was asked; `undefined`: it does. */
export type Refusal = string | undefined;

/** A node gives its actors away: for a person who wants it empty, or because it leaves. */
export class NodeDrain {
  readonly #parts: MoveParts;
  #moving: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;
  #isLeaving = false;

  constructor(parts: MoveParts) {
    this.#parts = parts;
  }

  /**
   * From now on this node is given nothing new, and its actors move to the others, for as long as that takes. It goes on
   * to answer. If no other node is left to take them, it takes part again by itself. May be called again.
   */
  async start(): Promise<Refusal> {
    const { membership, placement } = this.#parts;
    if (membership.state === "draining") return undefined;
    if (membership.state !== "up") return `node ${membership.name} is ${membership.state}`;
    if (placement.choose("", { except: membership.node }) === undefined)
      return `node ${membership.name} is the only one that is up: there is none to take its agents`;
    await membership.drain();
    const stop = new AbortController();
    this.#moving = { stop, ended: this.#move(stop.signal) };
    return undefined;
  }

  /** This node takes part again. May be called again. */
  async undo(): Promise<Refusal> {
    const { membership } = this.#parts;
    if (this.#isLeaving) return `node ${membership.name} is about to stop`;
    if (membership.state !== "draining") return membership.state === "up" ? undefined : `node ${membership.name} is ${membership.state}`;
    await this.#stopMoving();
    await membership.ready();
    return undefined;
  }

  /** Gives away what it can before this node leaves. */
  async leave(signal?: AbortSignal): Promise<DrainReport> {
    this.#isLeaving = true;
    await this.#stopMoving();
    const late = new AbortController();
    const abort = (): void => late.abort();
    const isOver = this.#parts.environment.clock.schedule(leaveMilliseconds, abort);
    signal?.addEventListener("abort", abort);
    try {
      return await drain(this.#parts, late.signal);
    } finally {
      isOver();
      signal?.removeEventListener("abort", abort);
    }
  }

  async #stopMoving(): Promise<void> {
    this.#moving?.stop.abort();
    await this.#moving?.ended;
    this.#moving = undefined;
  }

  /** Never throws. */
  async #move(signal: AbortSignal): Promise<void> {
    const { environment, membership } = this.#parts;
    const { log } = environment;
    try {
      const report = await moveAll(this.#parts, signal);
      if (signal.aborted) return;
      log.write("info", "A node has given its actors away", { node: membership.node, ...report });
      if (report.left === 0) return;
      log.write("warn", "A node takes actors again: no other one is up to take those that it has", { node: membership.node });
      await membership.ready();
    } catch (error) {
      log.write("warn", "A node could not end its drain", { node: membership.node, error });
    }
  }
}
