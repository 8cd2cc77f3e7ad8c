/**
 * The store as a process sees it over a network: the same store, with latency, failures and lost answers.
 *
 * T1. A call takes effect in one event, at the moment it arrives, and its answer arrives in a later one.
 * T2. `StoreUnavailableError` means that the batch was not applied and will not be.
 * T3. `CommitUnknownError` means nothing: the batch was applied, or was not, or will be later, after its retry.
 * T4. A batch on its way when its process crashes is applied or lost, as the seed says; its answer is not delivered.
 */
import { bytesToMapKey } from "../src/base/bytes.ts";
import {
  type Answer,
  type Batch,
  CommitUnknownError,
  type CommitOutcome,
  type Key,
  type Query,
  type Store,
  type StoreLimits,
  StoreUnavailableError,
} from "../src/storage/store.ts";
import type { Kernel } from "./kernel.ts";
import { type Incarnation, never } from "./process.ts";
import { hashBytes, type KeyedRandom, type RandomStream } from "./random.ts";

/** Chances, each from 0 to 1, of what can happen to one call. */
export interface StoreFaults {
  readonly readUnavailable: number;
  readonly commitUnavailable: number;
  readonly unknownApplied: number;
  readonly unknownLost: number;
  /** Applied after its answer was given up, often after the retry. */
  readonly unknownLate: number;
  /** A hundred times the usual latency. */
  readonly slow: number;
  /** That a batch on its way is lost when its process crashes. */
  readonly lostAtCrash: number;
}

export const noStoreFaults: StoreFaults = {
  readUnavailable: 0,
  commitUnavailable: 0,
  unknownApplied: 0,
  unknownLost: 0,
  unknownLate: 0,
  slow: 0,
  lostAtCrash: 0,
};

export interface StoreTwinOptions {
  readonly kernel: Kernel;
  /** What survives: the same for all processes. */
  readonly disk: Store;
  readonly incarnation: Incarnation;
  /** Each kind of call, of each process, about each first key has draws of its own: latency and faults. */
  readonly random: KeyedRandom;
  readonly latencyMilliseconds: { readonly lowest: number; readonly highest: number };
  readonly faults: StoreFaults;
  /** Virtual times between which the store answers nobody: reads and commits fail, some commits with an unknown outcome. */
  readonly outage?: { readonly from: number; readonly to: number };
  /** Whether nothing goes between this process and the store now: what is on its way is lost. */
  readonly isCut?: () => boolean;
  /** The history that the store is in: connections do not outlive the change to another one. */
  readonly generation?: () => string;
  /** Faults stop at this virtual time, so that what must end can end. */
  readonly faultsUntil?: number;
  /** Asked about each fault that was drawn, with where it was: whether it happens. By default all do. */
  readonly happens?: (kind: string, place: string) => boolean;
  /** Told of every batch at the moment that it was applied. */
  readonly onApplied?: (batch: Batch, outcome: CommitOutcome, incarnation: Incarnation) => void;
}

/** One call: where it is, for the names of its faults, and its draws. */
interface Call {
  readonly place: string;
  readonly random: RandomStream;
}

const idPattern = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gu;

type CommitFate = "ok" | "commitUnavailable" | "unknownApplied" | "unknownLost" | "unknownLate";

export class StoreTwin implements Store {
  readonly limits: StoreLimits;
  readonly #options: StoreTwinOptions;
  #generation: string;

  constructor(options: StoreTwinOptions) {
    this.#options = options;
    this.#generation = options.generation?.() ?? "";
    this.limits = options.disk.limits;
  }

  read(queries: readonly Query[]): Promise<readonly Answer[]> {
    const { disk, incarnation, faults } = this.#options;
    if (!incarnation.cross("read")) return never();
    const names = queries.slice(0, 3).map((query) => shortKey("key" in query ? query.key : query.begin));
    const call = this.#call("read", names[0]);
    const fails = this.#fails(call, call.random.fraction(), faults.readUnavailable, "readUnavailable") || this.#isOut(call);
    const [there, back] = [this.#latency(call), this.#latency(call)];
    const details = `${queries.length} queries ${names.join(" ")}`;
    return new Promise((resolve, reject) => {
      this.#options.kernel.schedule(there, { kind: "store.read", details: `${incarnation.label} ${details}` }, () => {
        const unavailable = (): void => reject(new StoreUnavailableError("A simulated store did not answer a read"));
        if (fails || this.#isCut) return this.#answer(back, "unavailable", unavailable);
        const isLost = this.#losesAnswer();
        disk.read(queries).then(
          (answers) => this.#answer(back, "read", () => (isLost() ? unavailable() : resolve(answers))),
          (error: unknown) => this.#answer(back, "refused", () => reject(error as Error)),
        );
      });
    });
  }

  commit(batch: Batch): Promise<CommitOutcome> {
    const { kernel, incarnation } = this.#options;
    if (!incarnation.cross("commit")) return never();
    const key = batch.checks[0]?.key ?? batch.writes.map((write) => ("key" in write ? write.key : write.begin))[0];
    const call = this.#call("commit", key && shortKey(key));
    const { random } = call;
    const fate = this.#commitFate(call, random.fraction());
    const [there, back] = [this.#latency(call), this.#latency(call)];
    const isLostAtCrash = random.chance(this.#options.faults.lostAtCrash);
    const lateBy = random.fraction() * 40 * (there + back);
    return new Promise((resolve, reject) => {
      const unknown = (): void => reject(new CommitUnknownError("A simulated store's answer to a commit was lost"));
      const arrive = (delay: number, answer: (outcome: Promise<CommitOutcome>) => void): void => {
        kernel.schedule(delay, { kind: "store.commit", details: `${incarnation.label} ${fate} ${describeBatch(batch)}` }, () => {
          if (isLostAtCrash && !incarnation.alive) return;
          if (this.#isCut) return fate === "ok" ? this.#answer(back, "cut", unknown) : undefined;
          const outcome = this.#options.disk.commit(batch);
          outcome.then(
            (known) => this.#options.onApplied?.(batch, known, incarnation),
            () => {},
          );
          answer(outcome);
        });
      };
      if (fate === "ok") {
        arrive(there, (outcome) => {
          const isLost = this.#losesAnswer();
          outcome.then(
            (known) => this.#answer(back, `commit ${known.ok ? known.version : "conflict"}`, () => (isLost() ? unknown() : resolve(known))),
            (error: unknown) => this.#answer(back, "refused", () => reject(error as Error)),
          );
        });
      } else if (fate === "commitUnavailable") {
        this.#answer(there + back, fate, () => reject(new StoreUnavailableError("A simulated store refused a commit")));
      } else {
        if (fate === "unknownApplied") arrive(there, () => {});
        if (fate === "unknownLate") arrive(there + back + lateBy, () => {});
        this.#answer(there + back, fate, unknown);
      }
    });
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    const { disk, incarnation } = this.#options;
    const answer = this.#answer.bind(this);
    const call = this.#call("watch", keys[0] && shortKey(keys[0]));
    const latency = (): number => this.#latency(call);
    async function* hints(): AsyncGenerator<void> {
      if (!incarnation.alive) await never();
      for await (const _ of disk.watch(keys, signal)) {
        if (!incarnation.alive) await never();
        await new Promise<void>((resolve) => answer(latency(), "watch", resolve));
        yield;
      }
    }
    return hints();
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #call(kind: string, key: string | undefined): Call {
    // Ids are made of draws, and one draw more would give all that follows another place.
    const place = `${this.#options.incarnation.process.name} ${kind} ${key?.replace(idPattern, "#") ?? "nothing"}`;
    return { place, random: this.#options.random.stream(`store/${place}`) };
  }

  /** The history that this process has heard from last. */
  generation(): string {
    return this.#generation;
  }

  get #isCut(): boolean {
    return this.#options.isCut?.() ?? false;
  }

  /** Called when the store has answered; gives whether that answer was lost by the time at which it arrives. */
  #losesAnswer(): () => boolean {
    const generation = this.#options.generation?.() ?? "";
    return () => {
      if (this.#isCut || generation !== (this.#options.generation?.() ?? "")) return true;
      this.#generation = generation;
      return false;
    };
  }

  /** Delivers to the incarnation that asked, if it still lives. */
  #answer(delay: number, details: string, deliver: () => void): void {
    const { kernel, incarnation } = this.#options;
    kernel.schedule(delay, { kind: "store.answer", owner: incarnation, details }, () => {
      if (incarnation.cross("store.answer")) deliver();
    });
  }

  #commitFate(call: Call, draw: number): CommitFate {
    const { faults } = this.#options;
    if (this.#isOut(call)) return draw < 0.5 ? "unknownLost" : "commitUnavailable";
    let below = 0;
    const fates = ["commitUnavailable", "unknownApplied", "unknownLost", "unknownLate"] as const;
    const fate = fates.find((each) => draw < (below += faults[each]));
    return fate !== undefined && this.#fails(call, draw, below, fate) ? fate : "ok";
  }

  #isOut({ place }: Call): boolean {
    const { kernel, outage, happens } = this.#options;
    if (outage === undefined || kernel.now < outage.from || kernel.now >= outage.to) return false;
    return happens?.("outage", place) ?? true;
  }

  #fails({ place }: Call, draw: number, chance: number, kind: string): boolean {
    const { kernel, faultsUntil, happens } = this.#options;
    if (draw >= chance || kernel.now >= (faultsUntil ?? Infinity)) return false;
    return happens?.(kind, place) ?? true;
  }

  #latency(call: Call): number {
    const { latencyMilliseconds, faults } = this.#options;
    const { lowest, highest } = latencyMilliseconds;
    const milliseconds = lowest + call.random.fraction() * (highest - lowest);
    return this.#fails(call, call.random.fraction(), faults.slow, "slow") ? milliseconds * 100 : milliseconds;
  }
}

function describeBatch(batch: Batch): string {
  const writes = batch.writes.map((write) => {
    if (write.kind === "set") return `set ${shortKey(write.key)} ${hashBytes(write.value)}`;
    return `${write.kind} ${shortKey(write.kind === "deleteRange" ? write.begin : write.key)}`;
  });
  return `${batch.id} ${batch.checks.length} checks ${writes.join(" ")}`;
}

/** Enough of a key to tell rows apart in a trace. */
function shortKey(key: Key): string {
  return bytesToMapKey(key)
    .replace(/[^\x20-\x7e]+/gu, "/")
    .slice(0, 80);
}
