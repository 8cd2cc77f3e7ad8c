/** Takes note of faults as they happen, and measures how long it takes until what a node had is changed elsewhere. */
import type { Fault, FaultKind } from "./faults.ts";
import type { Endpoint, ObjectClients } from "./object-clients.ts";

export interface Failover {
  readonly fault: FaultKind;
  readonly milliseconds: number;
}

const probesPerFault = 8;

export class FaultLog {
  /** By kind. */
  readonly counts: Map<FaultKind, number> = new Map();
  /** From a fault of an owner to the next change of what it had. */
  readonly failovers: Failover[] = [];
  readonly #objects: ObjectClients;
  readonly #endpoints: readonly Endpoint[];
  readonly #isVerbose: boolean;
  readonly #startedAt = performance.now();
  readonly #probes: Promise<void>[] = [];

  constructor(objects: ObjectClients, endpoints: readonly Endpoint[], isVerbose: boolean) {
    this.#objects = objects;
    this.#endpoints = endpoints;
    this.#isVerbose = isVerbose;
  }

  note({ kind, text, owner }: Fault): void {
    const at = performance.now();
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    if (this.#isVerbose) process.stderr.write(`${((at - this.#startedAt) / 1_000).toFixed(1).padStart(7)} s  ${text}\n`);
    if (owner === undefined) return;
    const objects = this.#objects.histories.ownedBy(owner.incarnation, this.#objects.current);
    for (const object of objects.slice(0, probesPerFault)) this.#probes.push(this.#probe(object, { kind, at, node: owner.node }));
  }

  /** Resolves when every probe has its answer. */
  async settled(): Promise<void> {
    await Promise.all(this.#probes);
  }

  async #probe(object: string, fault: { readonly kind: FaultKind; readonly at: number; readonly node: string }): Promise<void> {
    const options = { client: `probe of ${fault.node}`, manner: "patient", avoid: fault.node } as const;
    const first = this.#endpoints.findIndex(({ name }) => name !== fault.node);
    const returned = await this.#objects.change(object, { ...options, at: first });
    if (returned !== undefined) this.failovers.push({ fault: fault.kind, milliseconds: returned - fault.at });
  }
}
