import type { Cancel } from "../src/environment/environment.ts";
import { type EventOptions, Kernel } from "./kernel.ts";

/** A kernel that runs whenever there is something to do, for code that lives in real time: the contract suite. */
export class LiveKernel extends Kernel {
  #isRunning = false;
  #isAsked = false;

  override schedule(milliseconds: number, options: EventOptions, run: () => void): Cancel {
    const cancel = super.schedule(milliseconds, options, run);
    this.#isAsked = true;
    if (!this.#isRunning) void this.#runWhileAsked();
    return cancel;
  }

  async #runWhileAsked(): Promise<void> {
    this.#isRunning = true;
    // Something may be scheduled after a run has found nothing more and before this hears of it.
    while (this.#isAsked) {
      this.#isAsked = false;
      await this.run();
    }
    this.#isRunning = false;
  }
}
