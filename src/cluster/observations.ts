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
 * O2. Time in which this node saw nothing, or could not renew either, counts for nobody: it was an outage of the store, and
 *     after it all the others would look dead at once. A store that can only be read shows what nobody can change.
 */
export class Observations {
  readonly #node: string;
  readonly #gapMax: number;
  #observations = new Map<string, Observation>();
  #observedAt = -Infinity;

  /** `node`: this one. `gapMax`: between two observations, and between two of its renewals, beyond which nothing was observed (O2). */
  constructor(node: string, gapMax: number) {
    this.#node = node;
    this.#gapMax = gapMax;
  }

  /** `now`: elapsed milliseconds after the rows were read. */
  observe(rows: readonly MemberRow[], now: number): void {
    const renewedAt = this.#observations.get(this.#node)?.since ?? now;
    const isOutage = now - Math.min(this.#observedAt, renewedAt) > this.#gapMax;
    const before = isOutage ? new Map<string, Observation>() : this.#observations;
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
