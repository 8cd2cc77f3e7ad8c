import type { Environment } from "../environment/environment.ts";

/** The runs that this node works on, for a stop that lets each finish its step. */
export class RunWork {
  readonly #running = new Set<Promise<void>>();
  #isStopping = false;

  /** Drivers begin no further step: their runs go on at the next start, or at another node. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  track(work: Promise<void>): void {
    this.#running.add(work);
    const forget = (): void => void this.#running.delete(work);
    work.then(forget, forget);
  }

  /** Resolves when every run has finished its step, or after `milliseconds`. */
  async stop(environment: Environment, milliseconds: number): Promise<void> {
    this.#isStopping = true;
    const late = new AbortController();
    await Promise.race([Promise.allSettled(this.#running), environment.clock.sleep(milliseconds, late.signal)]);
    late.abort();
  }
}
