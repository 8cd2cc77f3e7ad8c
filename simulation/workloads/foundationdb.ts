/**
 * The store in FoundationDB over the model of FoundationDB: clients read, and commit batches of checks and writes
 * through any process, again and again under one id until they know what became of it.
 *
 * Checked: the history is linearizable, with all keys as one state, so that reads are snapshots and batches whole; a
 * batch that was said not to have been applied was not (F4); in the cluster, a key's version grows with every set
 * (F1), and no id is written twice (F2); an entry always has the version that its batch was answered with.
 */
import { keyAfter } from "../../src/base/bytes.ts";
import { addToCounter } from "../../src/storage/counter.ts";
import { bucketVersions, decodeVersion } from "../../src/storage/foundationdb-rows.ts";
import { FoundationDbStore } from "../../src/storage/foundationdb-store.ts";
import {
  type Batch,
  type Check,
  CommitUnknownError,
  type Entry,
  type Store,
  StoreUnavailableError,
  type Write,
} from "../../src/storage/store.ts";
import { clusterClock, FoundationDbCluster, type FoundationDbFaults, noFoundationDbFaults } from "../foundationdb-cluster.ts";
import { connectToModel } from "../foundationdb-model.ts";
import type { AppliedTransaction } from "../foundationdb-mutations.ts";
import { checkLinearizable, type Operation, type SequentialModel } from "../linearizability.ts";
import type { Incarnation, SimulatedProcess } from "../process.ts";
import type { RandomStream } from "../random.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

/** The last one is a counter. */
const keys = ["a", "b", "c", "n"] as const;
type KeyName = (typeof keys)[number];

/** Steps of the check of one history: one in some hundred needs more than a million. */
const stepsMax = 300_000;

export const foundationDb: Workload = {
  name: "foundationdb",
  checks: "batches and reads of the store in FoundationDB are linearizable, under conflicts, unknown results and late commits",
  options: (swarm) => ({
    ...swarm,
    // Few and short: the check of a history is what takes the time.
    clients: Math.min(swarm.clients, 4),
    operationsPerClient: Math.min(swarm.operationsPerClient, 10),
    // A client asks again only when its call is over, be it by a crash. While two calls of one batch are under way, the
    // one may be refused by a check that holds again for the other: no engine keeps more than S4.
    replyLost: 0,
    patienceMilliseconds: 100_000,
  }),
  run: async (world) => {
    const clusters = new ClusterUnderTest(world);
    const processes = Array.from({ length: world.swarm.processes }, (_, at) => world.addProcess(`node-${at}`, () => {}));
    const clients = Array.from({ length: world.swarm.clients }, (_, at) => new Client(world, clusters, processes, `client-${at}`));
    await Promise.all(clients.map((client) => client.work()));
    await clients[0]!.read([...keys]);
    const history = clients.flatMap((client) => client.history);
    const checked = checkLinearizable(rows, history, stepsMax);
    if (checked.verdict === "unknown") world.countProbe("history too hard");
    if (checked.verdict === "not linearizable")
      world.violation(`The history is not linearizable: stuck at ${JSON.stringify(checked.stuckAt)}`);
  },
};

/** A cluster drawn from the seed, and what is checked inside it. */
class ClusterUnderTest {
  readonly #world: World;
  readonly #cluster: FoundationDbCluster;
  readonly #waitMillisecondsMax: number;
  readonly #stores = new WeakMap<Incarnation, Promise<Store>>();
  readonly #versions = new Map<string, number>();
  readonly #ids = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    const random = world.random.stream("foundationdb");
    const versionsPerSecond = random.pick([1_000_000, 1_000_000, 2_000]);
    // Half of the runs pass from one bucket of ids into the next, some of them from the first.
    const beforeBucket = Math.floor(random.fraction() * versionsPerSecond * random.pick([0.1, 0.5, 4]));
    const firstVersion = random.chance(0.5) ? 1 : random.pick([1, 3]) * bucketVersions - beforeBucket;
    this.#waitMillisecondsMax = random.pick([300, 2_000, 10_000]);
    const { kernel, swarm } = world;
    const latencyMilliseconds = { ...swarm.storeLatencyMilliseconds, highest: Math.min(swarm.storeLatencyMilliseconds.highest, 100) };
    this.#cluster = new FoundationDbCluster({
      clock: clusterClock(kernel),
      random,
      latencyMilliseconds,
      commitBatchMilliseconds: random.pick([0, 1, 5]),
      versionsPerSecond,
      firstVersion,
      faults: swarm.isCalm || swarm.faultsUntil === 0 ? noFoundationDbFaults : drawFaults(random),
      faultsUntil: swarm.faultsUntil,
      happens: (kind) => world.faultHappens(kind, "cluster"),
      onApplied: (applied) => this.#check(applied),
    });
    if (!swarm.isCalm && random.chance(0.2) && swarm.faultsUntil > 0)
      kernel.schedule(random.fraction() * 3_000, { kind: "recovery" }, () => {
        if (world.faultHappens("recovery", "cluster")) this.#cluster.recover();
      });
  }

  /** The store of a process: opened when it is first asked for. */
  async storeOf(incarnation: Incarnation): Promise<Store> {
    let store = this.#stores.get(incarnation);
    if (store === undefined) {
      store = this.#open(incarnation);
      this.#stores.set(incarnation, store);
      store.catch(() => this.#stores.delete(incarnation));
    }
    return await store;
  }

  async #open(incarnation: Incarnation): Promise<Store> {
    const { mutant } = this.#world;
    const client = connectToModel(this.#cluster, incarnation.environment.clock);
    const store = await FoundationDbStore.open(mutant?.wrapClient?.(client) ?? client, incarnation.environment, {
      waitMillisecondsMax: this.#waitMillisecondsMax,
    });
    return mutant?.wrapStore?.(store, incarnation) ?? store;
  }

  #check({ version, order, mutations }: AppliedTransaction): void {
    this.#world.kernel.note("applied", "cluster", `${version}.${order} ${mutations.length} mutations`);
    const set = new Map(mutations.flatMap((each) => (each.kind === "set" ? [[latin1(each.key), each] as const] : [])));
    for (const [name, { key, value }] of set) {
      if (isIdRow(key)) {
        const id = Buffer.from(key.subarray(prefixBytes + 9)).toString("utf16le");
        if (this.#ids.has(id)) this.#world.violation(`F2: the batch ${id} was applied twice`);
        this.#ids.add(id);
      } else if (isEntryRow(key)) {
        const [last, next] = [this.#versions.get(name) ?? 0, decodeVersion(value)];
        if (next <= last) this.#world.violation(`F1: the version of ${name.slice(prefixBytes + 1)} went from ${last} to ${next}`);
        this.#versions.set(name, next);
      }
    }
  }
}

/** The name "kelpie" as a tuple; a byte with the kind of the row follows. */
const prefixBytes = 8;

export function isIdRow(key: Uint8Array): boolean {
  return key[prefixBytes] === 0x01;
}

export function isEntryRow(key: Uint8Array): boolean {
  return key[prefixBytes] === 0x02;
}

function drawFaults(random: RandomStream): FoundationDbFaults {
  const rate = (highest: number): number => (random.chance(0.5) ? random.fraction() * highest : 0);
  return {
    readFails: rate(0.1),
    commitRefused: rate(0.2),
    unknownApplied: rate(0.3),
    unknownLost: rate(0.3),
    unknownLate: rate(0.5),
    silent: rate(0.1),
    slow: rate(0.03),
    watchLost: 0,
    watchSpurious: 0,
    watchLate: 0,
  };
}

interface Change {
  readonly kind: "set" | "delete" | "deleteRange" | "add";
  readonly key: KeyName;
  /** Of a set: the value; of an add: the amount; of a range: the last key that is deleted. */
  readonly with: string;
}

type Input =
  | { readonly kind: "read"; readonly keys: readonly KeyName[] }
  | {
      readonly kind: "batch";
      readonly id: string;
      readonly checks: readonly { readonly key: KeyName; readonly value: string | null }[];
      readonly changes: readonly Change[];
    };

/** All rows as one state. What is written is written once, so a value stands for a version. */
type State = { readonly [key in KeyName]?: string };

const rows: SequentialModel<State, Input, string> = {
  init: {},
  step(state, input, output) {
    if (input.kind === "read") return output === show(state, input.keys) ? { state } : undefined;
    const failed = input.checks.findIndex((check) => (state[check.key] ?? null) !== check.value);
    const actual = failed < 0 ? "ok" : `failed ${failed}`;
    if (output !== undefined && output !== actual) return undefined;
    return { state: failed < 0 ? input.changes.reduce(change, state) : state };
  },
  key: (state) => show(state, keys),
  isRead: (input) => input.kind === "read",
  kind: (input) => (input.kind === "read" ? "read" : input.id),
};

function change(state: State, { kind, key, with: operand }: Change): State {
  const next: { [name in KeyName]?: string } = { ...state };
  if (kind === "set") next[key] = operand;
  else if (kind === "delete") delete next[key];
  else if (kind === "add") {
    const before = state[key];
    next[key] = latin1(addToCounter(before === undefined ? undefined : Buffer.from(before, "latin1"), BigInt(operand)));
  } else for (const name of keys) if (name >= key && name <= operand) delete next[name];
  return next;
}

function show(state: State, names: readonly KeyName[]): string {
  return names.map((name) => `${name}=${state[name] ?? ""}`).join(" ");
}

class Client {
  readonly history: Operation<Input, string>[] = [];
  readonly #world: World;
  readonly #cluster: ClusterUnderTest;
  readonly #processes: readonly SimulatedProcess[];
  readonly #name: string;
  /** The draws of the operation under way. */
  #random: RandomStream;
  readonly #known = new Map<KeyName, Entry | undefined>();
  /** The version that a value was acknowledged or read with. */
  readonly #versions = new Map<string, number>();
  #batches = 0;

  constructor(world: World, cluster: ClusterUnderTest, processes: readonly SimulatedProcess[], name: string) {
    this.#world = world;
    this.#cluster = cluster;
    this.#processes = processes;
    this.#name = name;
    this.#random = world.random.stream(name);
  }

  async work(): Promise<void> {
    for (let operation = 0; operation < this.#world.swarm.operationsPerClient; operation++) {
      this.#random = this.#world.random.stream(`${this.#name}.${operation}`);
      await this.#world.sleep(this.#random.fraction() * this.#world.swarm.thinkMilliseconds);
      if (!this.#world.parts.takesOperation(this.#name, operation)) continue;
      if (this.#random.chance(0.35)) await this.read(this.#random.chance(0.5) ? [...keys] : [this.#random.pick(keys)]);
      else await this.#commit();
    }
  }

  /** Reads `names`, by their keys or as a range. */
  async read(names: readonly KeyName[]): Promise<void> {
    const asRange = names.length === keys.length && this.#random.chance(0.5);
    const queries = asRange
      ? [{ begin: bytes(names[0]!), end: keyAfter(bytes(names.at(-1)!)), limit: 10, reverse: this.#random.chance(0.5) }]
      : names.map((name) => ({ key: bytes(name) }));
    for (;;) {
      const called = this.#world.moment();
      const outcome = await this.#call(`read ${names}`, async (store) => (await store.read(queries)).flat());
      const returned = this.#world.moment();
      if (outcome.kind !== "reply") {
        this.#expectOperatingError(outcome);
        await this.#pause();
        continue;
      }
      const state: { [name in KeyName]?: string } = {};
      for (const name of names) this.#known.set(name, undefined);
      for (const entry of outcome.value) {
        const name = latin1(entry.key) as KeyName;
        this.#known.set(name, entry);
        state[name] = latin1(entry.value);
        this.#noteVersion(name, state[name], entry.version);
      }
      this.#world.operations++;
      this.history.push({ called, returned, input: { kind: "read", keys: names }, output: show(state, names) });
      return;
    }
  }

  async #commit(): Promise<void> {
    const id = `${this.#name}/${++this.#batches}`;
    const changes = Array.from({ length: this.#random.pick([1, 1, 2, 3]) }, (_, at) => this.#drawChange(`${id}.${at}`));
    const checked = [...this.#known.keys()].filter(() => this.#random.chance(0.4));
    const checks = checked.map((key) => ({ key, entry: this.#known.get(key) }));
    const batch: Batch = {
      id,
      checks: checks.map(({ key, entry }): Check => ({ key: bytes(key), version: entry?.version ?? null })),
      writes: changes.map(writeOf),
    };
    const input: Input = {
      kind: "batch",
      id,
      changes,
      checks: checks.map(({ key, entry }) => ({ key, value: entry === undefined ? null : latin1(entry.value) })),
    };
    const called = this.#world.moment();
    let mayBeApplied = false;
    for (;;) {
      const outcome = await this.#call(`commit ${id}`, (store) => store.commit(batch));
      if (outcome.kind === "reply") {
        const { value } = outcome;
        this.#world.operations++;
        this.history.push({ called, returned: this.#world.moment(), input, output: value.ok ? "ok" : `failed ${value.failedCheck}` });
        if (value.ok) for (const { kind, key, with: text } of changes) if (kind === "set") this.#noteVersion(key, text, value.version);
        return;
      }
      this.#expectOperatingError(outcome);
      if (outcome.kind === "lost" || outcome.error instanceof CommitUnknownError) mayBeApplied = true;
      if (this.#random.chance(0.2)) {
        // Said not to have been applied, it is in no history; given up in doubt, it may be.
        if (mayBeApplied) this.history.push({ called, returned: Infinity, input, output: undefined });
        return;
      }
      await this.#pause();
    }
  }

  #drawChange(value: string): Change {
    const kind = this.#random.pick(["set", "set", "set", "add", "add", "delete", "deleteRange", "deleteRange"] as const);
    if (kind === "add") return { kind, key: "n", with: `${this.#random.between(1, 2 ** 40)}` };
    const key = this.#random.pick(keys);
    if (kind === "deleteRange") return { kind, key, with: this.#random.pick(keys) };
    // A counter holds only what was added to it.
    return { kind: key === "n" ? "delete" : kind, key, with: value };
  }

  #call<T>(details: string, work: (store: Store) => Promise<T>): ReturnType<typeof World.prototype.call<T>> {
    const process = this.#random.pick(this.#processes);
    return this.#world.call(
      process,
      `${this.#name} ${details}`,
      async (incarnation) => await work(await this.#cluster.storeOf(incarnation)),
    );
  }

  async #pause(): Promise<void> {
    await this.#world.sleep(this.#random.fraction() * 100);
  }

  #expectOperatingError(outcome: { readonly kind: "lost" } | { readonly kind: "error"; readonly error: Error }): void {
    if (outcome.kind === "lost" || outcome.error instanceof StoreUnavailableError || outcome.error instanceof CommitUnknownError) return;
    this.#world.violation(`An unexpected error: ${outcome.error.stack}`);
  }

  #noteVersion(key: KeyName, value: string, version: number): void {
    if (key === "n") return;
    const known = this.#versions.get(value);
    if (known !== undefined && known !== version) this.#world.violation(`${value} has the version ${version} and had ${known}`);
    this.#versions.set(value, version);
  }
}

function writeOf({ kind, key, with: operand }: Change): Write {
  if (kind === "set") return { kind, key: bytes(key), value: bytes(operand) };
  if (kind === "add") return { kind, key: bytes(key), amount: BigInt(operand) };
  if (kind === "delete") return { kind, key: bytes(key) };
  return { kind, begin: bytes(key), end: keyAfter(bytes(operand)) };
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

function latin1(value: Uint8Array): string {
  return Buffer.from(value).toString("latin1");
}
