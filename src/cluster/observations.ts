import type { Version } from "../storage/store.ts";
import type { MemberRow } from "./member-rows.ts";

interface Observation {
  readonly version: Version;
  /** Elapsed milliseconds when this version was first seen. */
  readonly since: number;
}

/**
 * How long each member has been seen unchanged (C2).
 *
 * O1. A version counts from when the answer that showed it first had come: its renewal was sent before that.
 * O2. Time in which this node saw nothing counts for nobody: in an outage of the store no member could renew either,
 *     and after it all of them would look dead at once.
 */
export class Observations {
  readonly #gapMax: number;
  #observations = new Map<string, Observation>();
  #observedAt = -Infinity;

  /** Between two observations, beyond which nothing was observed (O2). */
  constructor(gapMax: number) {
    this.#gapMax = gapMax;
  }

  /** `now`: elapsed milliseconds after the rows were read. */
  observe(rows: readonly MemberRow[], now: number): void {
    const before = now - this.#observedAt > this.#gapMax ? new Map<string, Observation>() : this.#observations;
    this.#observedAt = now;
    this.#observations = new Map(
      rows.map(({ member, version }) => {
        const known = before.get(member.node);
        return [member.node, known?.version === version ? known : { version, since: now }];
      }),
    );
  }

  /** For how long the member has been in this very version, as far as was observed. */
  unchangedFor({ member, version }: MemberRow, now: number): number {
    const known = this.#observations.get(member.node);
    return known?.version === version ? now - known.since : 0;
  }
}
