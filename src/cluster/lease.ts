import type { Clock } from "../environment/environment.ts";

/** One moment on both clocks. */
export interface Moment {
  readonly elapsed: number;
  readonly wall: number;
}

export function momentOf(clock: Clock): Moment {
  return { elapsed: clock.elapsed(), wall: clock.now() };
}

/**
 * Until when this node may answer from memory (C4).
 *
 * Counted on the monotonic clock from before the renewal was sent, so that it ends before anybody's wait for it does.
 * Some monotonic clocks stand still while a machine sleeps: when the wall clock has run far ahead of it, the lease is
 * over. A wall clock that is set forward ends a lease early, and none ever lasts longer for it.
 */
export class Lease {
  readonly #clock: Clock;
  readonly #milliseconds: number;
  readonly #suspensionMax: number;
  #grantedAt: Moment | undefined;

  /** `suspensionMax`: how far ahead the wall clock may run before time is taken to have stood still. */
  constructor(clock: Clock, options: { readonly milliseconds: number; readonly suspensionMax: number }) {
    this.#clock = clock;
    this.#milliseconds = options.milliseconds;
    this.#suspensionMax = options.suspensionMax;
  }

  /** A renewal that was sent at `sentAt` has succeeded. */
  grant(sentAt: Moment): void {
    this.#grantedAt = sentAt;
  }

  lose(): void {
    this.#grantedAt = undefined;
  }

  get isValid(): boolean {
    if (this.#grantedAt === undefined) return false;
    const passed = this.#clock.elapsed() - this.#grantedAt.elapsed;
    return passed < this.#milliseconds && this.#clock.now() - this.#grantedAt.wall - passed <= this.#suspensionMax;
  }
}
