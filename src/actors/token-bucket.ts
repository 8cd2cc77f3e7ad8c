import type { Clock } from "../environment/environment.ts";

/** Lets `rate` things a second begin, and up to a tenth of a second's worth of them at once. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #most: number;
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, rate: number) {
    this.#clock = clock;
    this.#rate = rate;
    this.#most = Math.max(1, rate / 10);
    this.#tokens = this.#most;
    this.#filledAt = clock.elapsed();
  }

  /** Resolves when one more thing may begin, or when `signal` aborts. For one caller at a time. */
  async take(signal: AbortSignal): Promise<void> {
    for (;;) {
      this.#fill();
      if (this.#tokens >= 1 || signal.aborted) break;
      await this.#clock.sleep(((1 - this.#tokens) / this.#rate) * 1_000, signal);
    }
    this.#tokens--;
  }

  /** Whether one more thing may begin now. */
  takeNow(): boolean {
    this.#fill();
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  #fill(): void {
    const now = this.#clock.elapsed();
    this.#tokens = Math.min(this.#most, this.#tokens + ((now - this.#filledAt) * this.#rate) / 1_000);
    this.#filledAt = now;
  }
}
