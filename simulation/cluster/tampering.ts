/** What planted bugs put between a node of a cluster and its store, its clock and its peers. */
import { ActorElsewhereError } from "../../src/actors/actor.ts";
import { ActorRuntime } from "../../src/actors/actor-runtime.ts";
import type { Header } from "../../src/actors/actor-rows.ts";
import { bytesToMapKey } from "../../src/base/bytes.ts";
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import { invokeMethod, Body } from "../../src/cluster/calls.ts";
import type { Member } from "../../src/cluster/cluster.ts";
import type { Cluster, ClusterOptions } from "../../src/cluster/open-cluster.ts";
import { ReplyLostError, type Transport, type Wire } from "../../src/cluster/transport.ts";
import type { Answer, Batch, Check, Entry, Query, Store, Write } from "../../src/storage/store.ts";
import { isSet, rowKind, withCommit, withRead, withWrites } from "../mutants.ts";
import type { Incarnation } from "../process.ts";
import type { SwarmOptions } from "../swarm.ts";
import type { Mutant } from "../world.ts";
import type { ClusterSwarm } from "./cluster-swarm.ts";

/** What each node was opened with. */
const optionsOf = new WeakMap<Incarnation, ClusterOptions>();

export function withCluster(swarm: SwarmOptions, cluster: Partial<ClusterSwarm>): SwarmOptions {
  return { ...swarm, cluster: { ...swarm.cluster, ...cluster } };
}

/** Answers from memory, as often as possible, at several nodes. */
export function withLeases(swarm: SwarmOptions): SwarmOptions {
  const { cluster } = swarm;
  return withCluster(
    { ...swarm, processes: Math.max(2, swarm.processes) },
    { reads: "lease", rateError: Math.min(cluster.rateError, cluster.timings.rateError), readShare: Math.max(0.5, cluster.readShare) },
  );
}

export function remembered(options: ClusterOptions, incarnation: Incarnation): ClusterOptions {
  optionsOf.set(incarnation, options);
  return options;
}

export function replaceGetter(object: object, name: string, get: () => unknown): void {
  Object.defineProperty(object, name, { configurable: true, get });
}

// Rows.

export function kindOf(query: Query): string {
  return rowKind("key" in query ? query.key : query.begin);
}

export function isMembersQuery(query: Query): boolean {
  return !("key" in query) && kindOf(query) === "member";
}

export function readsNextRows({ value }: Entry): boolean {
  return decodeJson<Member>(value).schema.max > 1;
}

/** The member whose row a batch writes. */
export function memberIn(batch: Batch): Member | undefined {
  const write = batch.writes.find((each) => isSet(each, "member"));
  return write?.kind === "set" ? decodeJson<Member>(write.value) : undefined;
}

export function withoutChecks(store: Store, drops: (check: Check, batch: Batch) => boolean): Store {
  return withCommit(store, (batch, commit) => commit({ ...batch, checks: batch.checks.filter((check) => !drops(check, batch)) }));
}

/** Changes each header that is written. */
export function withHeaders(store: Store, change: (header: Header) => Header): Store {
  const changed = (write: Write): Write =>
    write.kind === "set" && isSet(write, "header") ? { ...write, value: encodeJson(change(decodeJson<Header>(write.value))) } : write;
  return withCommit(store, (batch, commit) => commit({ ...batch, writes: batch.writes.map(changed) }));
}

export function withReadHeaders(store: Store, change: (header: Header) => Header): Store {
  const changed = (entry: Entry): Entry =>
    rowKind(entry.key) === "header" ? { ...entry, value: encodeJson(change(decodeJson<Header>(entry.value))) } : entry;
  return withRead(store, async (queries, read) => (await read(queries)).map((answer) => answer.map(changed)));
}

export function withoutGeneration(store: Store): Store {
  return {
    limits: store.limits,
    read: (queries) => store.read(queries),
    commit: (batch) => store.commit(batch),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** Records are found for `milliseconds` after they were written here. */
export function recordsForgotten(store: Store, now: () => number, milliseconds: number): Store {
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

export function membersReadOnce(store: Store): Store {
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
export function takesBack(store: Store): Store {
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

export function leaseFromReply(): Pick<Mutant, "clusterOptions" | "changeCluster"> {
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

export function twoRuntimes(cluster: Cluster, incarnation: Incarnation): void {
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

export function alwaysElsewhere({ calls, actors, membership, node }: Cluster): void {
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

export function dropsWhileMoving({ actors }: Cluster): void {
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

export function withRequest(
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

export function withOldReplies(transport: Transport): Transport {
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
