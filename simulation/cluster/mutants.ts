/**
 * Bugs to plant in a cluster: between a node and its store, its clock, its peers and the others' view of it. The code that
 * ships knows of none of them; where a bug would be inside of it, a part of one node is replaced from outside.
 */
import { ActorElsewhereError } from "../../src/actors/actor.ts";
import { ActorRuntime } from "../../src/actors/actor-runtime.ts";
import type { Header } from "../../src/actors/actor-rows.ts";
import { bytesToMapKey } from "../../src/base/bytes.ts";
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import { invokeMethod, Body } from "../../src/cluster/calls.ts";
import type { Member } from "../../src/cluster/cluster.ts";
import type { Cluster, ClusterOptions } from "../../src/cluster/open-cluster.ts";
import { NodeUnreachableError, ReplyLostError, type Transport, type Wire } from "../../src/cluster/transport.ts";
import type { Answer, Batch, Check, Entry, Query, Store, Write } from "../../src/storage/store.ts";
import { isSet, mutants as planted, rowKind, withCommit, withRead, withWrites } from "../mutants.ts";
import type { Incarnation } from "../process.ts";
import type { SwarmOptions } from "../swarm.ts";
import type { Mutant } from "../world.ts";
import type { ClusterSwarm } from "./cluster-swarm.ts";

/** What each node was opened with. */
const optionsOf = new WeakMap<Incarnation, ClusterOptions>();

export const clusterMutants: readonly Mutant[] = [
  // What breaks one process breaks several, too.
  alsoIn("cluster-register", "no-epoch-check", 300),
  alsoIn("cluster-counter", "no-deduplication", 100),
  alsoIn("cluster-counter", "deduplication-in-memory", 200),
  alsoIn("cluster-append", "unknown-is-done", 100),
  alsoIn("cluster-append", "unknown-is-derived-again", 300),
  alsoIn("cluster-append", "reply-before-commit", 100),
  alsoIn("cluster-register", "stale-cache", 300),
  alsoIn("cluster-bank", "shared-rows-unchecked", 200),
  alsoIn("cluster-bank", "half-a-batch", 300),
  alsoIn("cluster-reminders", "due-row-lost", 100),
  alsoIn("cluster-reminders", "reminder-not-deleted", 100),
  {
    name: "deduplication-window-small",
    breaks: "an invocation is known again for a fraction of a second only",
    workload: "cluster-counter",
    seedsMax: 300,
    wrapStore: (store, { environment }) => recordsForgotten(store, () => environment.clock.elapsed(), 200),
  },
  {
    name: "claim-without-epoch",
    breaks: "who takes an actor over goes on with the epoch of the node before",
    workload: "cluster-register",
    seedsMax: 100,
    wrapStore: (store) => withHeaders(store, (header) => ({ ...header, epoch: 1 })),
  },

  // Leases and members.
  {
    name: "evicted-too-early",
    breaks: "a node is declared dead before its lease must be over",
    workload: "cluster-register",
    seedsMax: 100,
    options: withLeases,
    changeCluster: ({ membership }) =>
      void Object.assign(membership, { timings: { ...membership.timings, lease: membership.timings.lease / 5, margin: 0 } }),
  },
  {
    name: "eviction-unchecked",
    breaks: "a node is declared dead whether or not it has renewed meanwhile",
    workload: "cluster-register",
    seedsMax: 1_000,
    options: withLeases,
    wrapStore: (store) => withoutChecks(store, (check, batch) => rowKind(check.key) === "member" && memberIn(batch)?.state === "dead"),
  },
  {
    name: "living-reported-dead",
    breaks: "a witness takes a process that runs for one that has ended",
    workload: "cluster-register",
    seedsMax: 100,
    options: (swarm) => withCluster(withLeases(swarm), { hasWitness: true }),
    clusterOptions: (options, { random }) => {
      const witness = options.witness!;
      return { ...options, witness: { ...witness, isRunning: (process) => witness.isRunning(process) && !random.chance(0.02) } };
    },
  },
  {
    name: "reads-without-lease",
    breaks: "a node answers from memory whether or not its lease is valid",
    workload: "cluster-register",
    seedsMax: 300,
    options: withLeases,
    changeCluster: ({ placement }) => replaceGetter(placement, "holdsLease", () => true),
  },
  {
    name: "lease-from-reply",
    breaks: "a lease counts from when the answer to its renewal came, not from before that was sent",
    workload: "cluster-register",
    seedsMax: 1_000,
    options: withLeases,
    ...leaseFromReply(),
  },
  {
    name: "lease-longer-than-agreed",
    breaks: "one node believes in its lease for longer than the others wait for it",
    workload: "cluster-register",
    seedsMax: 100,
    options: withLeases,
    clusterOptions: (options, { process }) =>
      process.name === "node-0" ? { ...options, timings: { ...options.timings!, lease: 4 * options.timings!.lease } } : options,
  },
  {
    name: "clock-rate-beyond-bound",
    breaks: "clocks run at rates that differ by far more than leases allow for",
    workload: "cluster-register",
    seedsMax: 300,
    options: (swarm) => withCluster(withLeases(swarm), { rateError: 0.4 }),
  },
  {
    name: "suspension-unseen",
    breaks: "a node does not notice that its monotonic clock stood still while its machine slept",
    workload: "cluster-register",
    seedsMax: 300,
    options: (swarm) => withCluster(withLeases(swarm), { faults: ["suspension", "partition"], faultEveryMilliseconds: 600 }),
    clusterOptions: (options) => {
      const { environment } = options;
      const { clock } = environment;
      const startedAt = clock.now();
      const blind = {
        now: () => startedAt + Math.floor(clock.elapsed()),
        elapsed: () => clock.elapsed(),
        sleep: (milliseconds: number, signal?: AbortSignal) => clock.sleep(milliseconds, signal),
        schedule: (milliseconds: number, callback: () => void) => clock.schedule(milliseconds, callback),
      };
      return { ...options, environment: { ...environment, clock: blind } };
    },
  },
  {
    name: "dead-taken-back",
    breaks: "a process that starts again is the member that it was before",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: (options, { process }) => {
      const { random } = options.environment;
      const bytes = (count: number): Uint8Array => (count === 8 ? Buffer.from(process.name.padEnd(8)) : random.bytes(count));
      const same = { bytes, fraction: () => random.fraction(), uuid: () => random.uuid() };
      return { ...options, environment: { ...options.environment, random: same } };
    },
    wrapStore: (store) => withoutChecks(store, (check) => rowKind(check.key) === "member"),
  },
  {
    name: "renewal-unchecked",
    breaks: "a node renews its lease without looking whether the others take it to be dead",
    workload: "cluster-register",
    seedsMax: 200,
    wrapStore: (store) => withoutChecks(store, (check, batch) => rowKind(check.key) === "member" && memberIn(batch)?.state !== "dead"),
  },
  {
    name: "name-unchecked",
    breaks: "a node takes the name of one that lives",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: (options) => ({ ...options, name: "node" }),
    wrapStore: (store) =>
      withoutChecks(
        withRead(store, async (queries, read) =>
          (await read(queries)).map((answer, at) => (kindOf(queries[at]!) === "member-name" ? [] : answer)),
        ),
        (check) => rowKind(check.key) === "member-name",
      ),
  },
  {
    name: "members-never-looked-at",
    breaks: "a node reads who the members are once, when it joins",
    workload: "cluster-register",
    seedsMax: 100,
    wrapStore: membersReadOnce,
  },

  // Where actors are, and the way there.
  {
    name: "no-single-flight",
    breaks: "an actor can have two activations at one node",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: remembered,
    changeCluster: twoRuntimes,
  },
  {
    name: "redirect-loop",
    breaks: "each node says of an actor that it does not have in memory that it is at another one",
    workload: "cluster-register",
    seedsMax: 100,
    changeCluster: alwaysElsewhere,
  },
  {
    name: "old-reply",
    breaks: "a call whose connection broke gets the reply that came last from that actor",
    workload: "cluster-register",
    seedsMax: 500,
    clusterOptions: (options) => ({ ...options, transport: (node) => withOldReplies(options.transport(node)) }),
  },
  {
    name: "unreachable-though-handled",
    breaks: "a call that may have been handled is taken for one that certainly was not",
    workload: "cluster-append",
    seedsMax: 1_000,
    clusterOptions: (options) => ({
      ...options,
      transport: (node) =>
        withRequest(options.transport(node), async (_, send) => {
          try {
            return await send();
          } catch (error) {
            throw error instanceof ReplyLostError ? new NodeUnreachableError(error.message) : error;
          }
        }),
    }),
  },
  {
    name: "half-open-unseen",
    breaks: "nobody notices that a connection is dead",
    workload: "cluster-register",
    seedsMax: 200,
    options: (swarm) => withCluster(swarm, { pingMilliseconds: 100_000_000 }),
  },
  {
    name: "slots-of-nobody",
    breaks: "the reminders of some slots are no node's to deliver",
    workload: "cluster-reminders",
    seedsMax: 100,
    changeCluster: ({ placement }) => {
      const ownsSlot = placement.ownsSlot.bind(placement);
      placement.ownsSlot = (slot) => slot % 3 !== 0 && ownsSlot(slot);
    },
  },

  // Moves, updates and histories.
  {
    name: "take-back-unchecked",
    breaks: "an actor that was given away is taken back though its new node has it",
    workload: "cluster-moves",
    seedsMax: 1_000,
    wrapStore: takesBack,
  },
  {
    name: "source-goes-on",
    breaks: "a node goes on to answer for an actor that it has given away",
    workload: "cluster-moves",
    seedsMax: 100,
    options: withLeases,
    changeCluster: ({ actors }) => {
      actors.runtime.release = async (_, give) => await give(undefined);
    },
  },
  {
    name: "hand-over-stale",
    breaks: "an activation believes what an earlier move has handed over",
    workload: "cluster-moves",
    seedsMax: 500,
    changeCluster: ({ actors }) => {
      const { runtime } = actors;
      const activate = runtime.activate.bind(runtime);
      const earlier = new Map<string, unknown>();
      runtime.activate = async (id, handedOver) => {
        const value = earlier.get(id.key) ?? handedOver?.value;
        if (value !== undefined) earlier.set(id.key, value);
        await activate(id, handedOver && { ...handedOver, value });
      };
    },
  },
  {
    name: "move-drops",
    breaks: "messages that come for an actor while it moves are lost",
    workload: "cluster-moves",
    seedsMax: 200,
    changeCluster: dropsWhileMoving,
  },
  {
    name: "rows-raised-early",
    breaks: "rows of the next version are written while nodes live that cannot read them",
    workload: "cluster-upgrade",
    seedsMax: 100,
    wrapStore: (store) =>
      withRead(store, async (queries, read) =>
        (await read(queries)).map((answer, at) => (isMembersQuery(queries[at]!) ? answer.filter((entry) => readsNextRows(entry)) : answer)),
      ),
  },
  {
    name: "newer-rows-claimed",
    breaks: "a node takes an actor whose rows are of a version that it cannot read",
    workload: "cluster-upgrade",
    seedsMax: 200,
    clusterOptions: (options) =>
      options.schema?.max === 1
        ? { ...options, store: withReadHeaders(options.store, (header) => ({ ...header, schema: 1 })) }
        : { ...options, store: withHeaders(options.store, (header) => ({ ...header, schema: 2 })) },
  },
  {
    name: "generation-ignored",
    breaks: "a node does not look whether the store's history has gone back",
    workload: "cluster-rewind",
    seedsMax: 300,
    clusterOptions: (options) => ({ ...options, store: withoutGeneration(options.store) }),
  },
];

/** A bug of one process, planted in nodes of a cluster. */
function alsoIn(workload: string, name: string, seedsMax: number): Mutant {
  const mutant = planted.find((each) => each.name === name)!;
  return { ...mutant, name: `${workload}-${name}`, workload, seedsMax };
}

function withCluster(swarm: SwarmOptions, cluster: Partial<ClusterSwarm>): SwarmOptions {
  return { ...swarm, cluster: { ...swarm.cluster, ...cluster } };
}

/** Answers from memory, as often as possible, at several nodes. */
function withLeases(swarm: SwarmOptions): SwarmOptions {
  const { cluster } = swarm;
  return withCluster(
    { ...swarm, processes: Math.max(2, swarm.processes) },
    { reads: "lease", rateError: Math.min(cluster.rateError, cluster.timings.rateError), readShare: Math.max(0.5, cluster.readShare) },
  );
}

function remembered(options: ClusterOptions, incarnation: Incarnation): ClusterOptions {
  optionsOf.set(incarnation, options);
  return options;
}

function replaceGetter(object: object, name: string, get: () => unknown): void {
  Object.defineProperty(object, name, { configurable: true, get });
}

// Rows.

function kindOf(query: Query): string {
  return rowKind("key" in query ? query.key : query.begin);
}

function isMembersQuery(query: Query): boolean {
  return !("key" in query) && kindOf(query) === "member";
}

function readsNextRows({ value }: Entry): boolean {
  return decodeJson<Member>(value).schema.max > 1;
}

/** The member whose row a batch writes. */
function memberIn(batch: Batch): Member | undefined {
  const write = batch.writes.find((each) => isSet(each, "member"));
  return write?.kind === "set" ? decodeJson<Member>(write.value) : undefined;
}

function withoutChecks(store: Store, drops: (check: Check, batch: Batch) => boolean): Store {
  return withCommit(store, (batch, commit) => commit({ ...batch, checks: batch.checks.filter((check) => !drops(check, batch)) }));
}

/** Changes each header that is written. */
function withHeaders(store: Store, change: (header: Header) => Header): Store {
  const changed = (write: Write): Write =>
    write.kind === "set" && isSet(write, "header") ? { ...write, value: encodeJson(change(decodeJson<Header>(write.value))) } : write;
  return withCommit(store, (batch, commit) => commit({ ...batch, writes: batch.writes.map(changed) }));
}

function withReadHeaders(store: Store, change: (header: Header) => Header): Store {
  const changed = (entry: Entry): Entry =>
    rowKind(entry.key) === "header" ? { ...entry, value: encodeJson(change(decodeJson<Header>(entry.value))) } : entry;
  return withRead(store, async (queries, read) => (await read(queries)).map((answer) => answer.map(changed)));
}

function withoutGeneration(store: Store): Store {
  return {
    limits: store.limits,
    read: (queries) => store.read(queries),
    commit: (batch) => store.commit(batch),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** Records are found for `milliseconds` after they were written here. */
function recordsForgotten(store: Store, now: () => number, milliseconds: number): Store {
  const written = new Map<string, number>();
  const noting = withWrites(store, (write) => {
    if (write.kind === "set" && isSet(write, "dedup")) written.set(bytesToMapKey(write.key), now());
    return true;
  });
  return withRead(noting, async (queries, read) =>
    (await read(queries)).map((answer, at) => {
      if (kindOf(queries[at]!) !== "dedup") return answer;
      return answer.filter(({ key }) => now() - (written.get(bytesToMapKey(key)) ?? -Infinity) < milliseconds);
    }),
  );
}

function membersReadOnce(store: Store): Store {
  let first: Answer | undefined;
  let isIn = false;
  return withRead(
    withCommit(store, async (batch, commit) => {
      isIn ||= memberIn(batch)?.state === "up";
      return await commit(batch);
    }),
    async (queries, read) => {
      const answers = await read(queries);
      if (!isIn || !isMembersQuery(queries[0]!)) return answers;
      return [(first ??= answers[0]!), ...answers.slice(1)];
    },
  );
}

/** Takes actors back that this node has given away, whatever has become of them. */
function takesBack(store: Store): Store {
  const given = new Map<string, Header>();
  return withCommit(store, async (batch, commit) => {
    const [write] = batch.writes;
    if (batch.writes.length !== 1 || write?.kind !== "set" || !isSet(write, "header")) return await commit(batch);
    const key = bytesToMapKey(write.key);
    const header = decodeJson<Header>(write.value);
    const before = given.get(key);
    if (header.migrating !== undefined) given.set(key, header);
    const isTakingBack = header.migrating === undefined && header.epoch === before?.epoch && header.ver === before.ver + 1;
    return await commit(isTakingBack ? { ...batch, checks: [] } : batch);
  });
}

// Nodes.

function leaseFromReply(): Pick<Mutant, "clusterOptions" | "changeCluster"> {
  const repliedAt = new WeakMap<Incarnation, number>();
  return {
    clusterOptions: (options, incarnation) => {
      const store = withCommit(options.store, async (batch, commit) => {
        const outcome = await commit(batch);
        const member = memberIn(batch);
        if (outcome.ok && member !== undefined && member.state !== "dead")
          repliedAt.set(incarnation, incarnation.environment.clock.elapsed());
        return outcome;
      });
      return { ...options, store };
    },
    changeCluster: ({ membership }, incarnation) =>
      replaceGetter(membership, "holdsLease", () => {
        const passed = incarnation.environment.clock.elapsed() - (repliedAt.get(incarnation) ?? -Infinity);
        return membership.state !== "dead" && passed < membership.timings.lease;
      }),
  };
}

function twoRuntimes(cluster: Cluster, incarnation: Incarnation): void {
  const { placement, actors } = cluster;
  const { store, environment, limits } = optionsOf.get(incarnation)!;
  const beside = {
    node: placement.node,
    join: async () => {},
    leave: async () => {},
    isAlive: async (node: string) => await placement.isAlive(node),
    get holdsLease() {
      return placement.holdsLease;
    },
    get schema() {
      return placement.schema;
    },
  };
  const second = new ActorRuntime({ store, environment, placement: beside, ...(limits === undefined ? {} : { limits }) });
  const register = actors.register.bind(actors);
  actors.register = (type) => {
    register(type);
    second.register(type);
  };
  const { start } = cluster;
  cluster.start = async () => {
    await start();
    await second.start();
  };
  const invoke = actors.runtime.invoke.bind(actors.runtime);
  let times = 0;
  actors.runtime.invoke = async (id, message, options) =>
    await (++times % 2 === 0 ? second.invoke(id, message, options) : invoke(id, message, options));
}

function alwaysElsewhere({ calls, actors, membership, node }: Cluster): void {
  const { runtime } = actors;
  calls.onRequest(invokeMethod, async (wire, context) => {
    const body = new Body(wire);
    const other = membership.members.find((member) => member.node !== node);
    if (!runtime.has(body.id) && other !== undefined) throw new ActorElsewhereError("It is at another node", other.node);
    return await runtime.invoke(body.id, body.any("message"), {
      invocationId: body.text("invocationId"),
      recordOnlyWrites: body.flag("recordOnlyWrites"),
      timeoutMilliseconds: Math.max(1, context.remainingMilliseconds),
    });
  });
}

function dropsWhileMoving({ actors }: Cluster): void {
  const { runtime } = actors;
  const moving = new Set<string>();
  const release = runtime.release.bind(runtime);
  const invoke = runtime.invoke.bind(runtime);
  runtime.release = async (id, give) => {
    moving.add(id.key);
    try {
      return await release(id, give);
    } finally {
      moving.delete(id.key);
    }
  };
  runtime.invoke = async (id, message, options) => (moving.has(id.key) ? await new Promise(() => {}) : await invoke(id, message, options));
}

// Calls.

type Send = () => Promise<Wire>;

function withRequest(
  transport: Transport,
  change: (call: { readonly method: string; readonly body: Wire }, send: Send) => Promise<Wire>,
): Transport {
  return {
    listen: (handler) => transport.listen(handler),
    request: (address, method, body, options) => change({ method, body }, () => transport.request(address, method, body, options)),
    stream: (address, method, body, options) => transport.stream(address, method, body, options),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

function withOldReplies(transport: Transport): Transport {
  const last = new Map<string, Wire>();
  return withRequest(transport, async ({ method, body }, send) => {
    if (method !== invokeMethod) return await send();
    const { key } = new Body(body).id;
    try {
      const reply = await send();
      last.set(key, reply);
      return reply;
    } catch (error) {
      if (error instanceof ReplyLostError && last.has(key)) return last.get(key);
      throw error;
    }
  });
}
