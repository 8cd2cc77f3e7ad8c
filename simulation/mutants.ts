/**
 * Bugs to plant: a simulation is worth what it finds. Each is small and breaks a promise that a check watches.
 *
 * All of them stand outside the code under test: between it and its store, its process table or its actors. So
 * nothing in the code that ships knows of them.
 */
import type { Actor, ActorType } from "../src/actors/actor.ts";
import { decodeTuple, tupleRange } from "../src/base/tuple.ts";
import type { MembershipOptions } from "../src/cluster/membership.ts";
import {
  type Answer,
  type Batch,
  CommitUnknownError,
  type CommitOutcome,
  type Query,
  type Store,
  type Version,
  type Write,
} from "../src/storage/store.ts";
import type { Mutant } from "./world.ts";

type Commit = (batch: Batch) => Promise<CommitOutcome>;
type Read = (queries: readonly Query[]) => Promise<readonly Answer[]>;

export const mutants: readonly Mutant[] = [
  {
    name: "transaction-unchecked",
    breaks: "what a transaction has read is not checked when it commits",
    workload: "transactions",
    seedsMax: 100,
    wrapStore: (store) => withCommit(store, (batch, commit) => commit({ ...batch, checks: [] })),
  },
  {
    name: "no-epoch-check",
    breaks: "batches do not check the actor's header, so a batch of a dead process can land on its successor's",
    workload: "handover",
    seedsMax: 1_000,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) => commit({ ...batch, checks: batch.checks.filter((check) => rowKind(check.key) !== "header") })),
  },
  {
    name: "reply-before-commit",
    breaks: "a commit is answered when it is sent, not when it is durable",
    workload: "logs",
    seedsMax: 100,
    wrapStore: (store) => replyBeforeCommit(store),
  },
  {
    name: "no-deduplication",
    breaks: "invocations leave no deduplication record",
    workload: "logs",
    seedsMax: 200,
    wrapStore: (store) => withWrites(store, (write) => !isSet(write, "dedup")),
  },
  {
    name: "deduplication-in-memory",
    breaks: "deduplication records are written and never looked up in the store, so an activation forgets them",
    workload: "logs",
    seedsMax: 200,
    wrapStore: (store) =>
      withRead(store, async (queries, read) =>
        (await read(queries)).map((answer, at) => (queryKind(queries[at]!) === "dedup" ? [] : answer)),
      ),
  },
  {
    name: "deduplication-window-too-small",
    breaks: "deduplication records go when the next ones begin, however young they are",
    workload: "quarters",
    seedsMax: 200,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) =>
        commit({ ...batch, writes: [...allRecordsGo(batch), ...batch.writes.filter((write) => !isRemovalOfRecords(write))] }),
      ),
  },
  {
    name: "unknown-is-done",
    breaks: "a lost answer to a commit is taken for a success",
    workload: "logs",
    seedsMax: 200,
    wrapStore: (store) => withCommit(store, unknownIsDone),
  },
  {
    name: "unknown-is-derived-again",
    breaks: "after a lost answer the batch is made again from a fresh read, with a new id, instead of being repeated",
    workload: "logs",
    seedsMax: 200,
    wrapStore: derivedAgain,
  },
  {
    name: "failed-check-ignored",
    breaks: "a batch that failed a check of a shared row is taken for applied",
    workload: "bank",
    seedsMax: 200,
    wrapStore: (store) => withCommit(store, failedCheckIgnored),
  },
  {
    name: "shared-rows-unchecked",
    breaks: "rows that a turn read through `shared` are not checked when it commits",
    workload: "bank",
    seedsMax: 200,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) => commit({ ...batch, checks: batch.checks.filter((check) => rowKind(check.key) !== "account") })),
  },
  {
    name: "half-a-batch",
    breaks: "a batch is written in two steps, so a crash between them leaves a half",
    workload: "bank",
    seedsMax: 200,
    wrapStore: (store) => withCommit(store, halfABatch),
  },
  {
    name: "due-row-lost",
    breaks: "a reminder is set without its row in the order of time, so nobody finds it after a restart",
    workload: "reminders",
    seedsMax: 200,
    wrapStore: (store) => withWrites(store, (write) => !isSet(write, "reminder")),
  },
  {
    name: "reminder-not-deleted",
    breaks: "the turn of a reminder does not delete it, so it arrives again",
    workload: "reminders",
    seedsMax: 200,
    wrapStore: (store) =>
      withWrites(store, (write) => !(write.kind === "delete" && ["reminder", "reminders"].includes(rowKind(write.key)))),
  },
  {
    name: "stale-cache",
    breaks: "rows read by one activation are believed by the next one of the same process",
    workload: "logs",
    seedsMax: 200,
    wrapStore: staleCache,
  },
  {
    name: "two-activations",
    breaks: "an actor can be active twice in one process",
    workload: "logs",
    seedsMax: 300,
    runtimesPerProcess: 2,
  },
  {
    name: "living-taken-for-dead",
    breaks: "an actor is taken from a process that still runs",
    workload: "handover",
    seedsMax: 300,
    isRunning: () => false,
  },
  {
    name: "mailbox-unbounded",
    breaks: "any number of messages may wait for an actor",
    workload: "logs",
    seedsMax: 200,
    isMailboxUnbounded: true,
  },
  {
    name: "throwing-turn-writes",
    breaks: "what a turn wrote before it threw becomes durable",
    workload: "logs",
    seedsMax: 100,
    wrapType: (type) => ({ ...type, create: (activation) => writesBeforeThrowing(type.create(activation)) }),
  },
];

/** Where a batch removes old deduplication records, it removes all. */
function allRecordsGo(batch: Batch): Write[] {
  return batch.writes.filter(isRemovalOfRecords).map((write) => {
    const [writtenProject, kind, type, key] = decodeTuple(write.begin);
    return { kind: "deleteRange", ...tupleRange([writtenProject!, kind!, type!, key!]) };
  });
}

function isRemovalOfRecords(write: Write): write is Write & { readonly kind: "deleteRange" } {
  return write.kind === "deleteRange" && rowKind(write.begin) === "dedup";
}

/** The second element of a row's key says what it is. */
export function rowKind(key: Uint8Array): string {
  return String(decodeTuple(key)[1]);
}

function queryKind(query: Query): string {
  return rowKind("key" in query ? query.key : query.begin);
}

export function isSet(write: Write, kind: string): boolean {
  return write.kind === "set" && rowKind(write.key) === kind;
}

export function withCommit(store: Store, change: (batch: Batch, commit: Commit) => Promise<CommitOutcome>): Store {
  return changed(store, { commit: (batch) => change(batch, (other) => store.commit(other)) });
}

export function withRead(store: Store, change: (queries: readonly Query[], read: Read) => Promise<readonly Answer[]>): Store {
  return changed(store, { read: (queries) => change(queries, (others) => store.read(others)) });
}

export function withWrites(store: Store, keeps: (write: Write) => boolean): Store {
  return withCommit(store, (batch, commit) => commit({ ...batch, writes: batch.writes.filter(keeps) }));
}

/** Actors that treat their messages as `change` says, and are otherwise as they were. */
export function withReceive(
  type: ActorType,
  change: (message: unknown, turn: Parameters<Actor["receive"]>[1], receive: Actor["receive"]) => Promise<unknown>,
): ActorType {
  return {
    ...type,
    create: (activation) => {
      const actor = type.create(activation);
      return {
        ...(actor.activate === undefined ? {} : { activate: () => actor.activate!() }),
        ...(actor.remind === undefined ? {} : { remind: (reminder, turn) => actor.remind!(reminder, turn) }),
        ...(actor.prepareToMove === undefined ? {} : { prepareToMove: () => actor.prepareToMove!() }),
        receive: (message, turn) => change(message, turn, (other, same) => actor.receive(other, same)),
      };
    },
  };
}

function changed(store: Store, parts: { readonly commit?: Commit; readonly read?: Read }): Store {
  const { generation } = store as MembershipOptions["store"];
  return {
    ...(generation === undefined ? {} : { generation: () => generation.call(store) }),
    limits: store.limits,
    read: parts.read ?? ((queries) => store.read(queries)),
    commit: parts.commit ?? ((batch) => store.commit(batch)),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

async function unknownIsDone(batch: Batch, commit: Commit): Promise<CommitOutcome> {
  try {
    return await commit(batch);
  } catch (error) {
    if (error instanceof CommitUnknownError) return { ok: true, version: Number.MAX_SAFE_INTEGER };
    throw error;
  }
}

async function failedCheckIgnored(batch: Batch, commit: Commit): Promise<CommitOutcome> {
  const outcome = await commit(batch);
  return outcome.ok || outcome.failedCheck === 0 ? outcome : { ok: true, version: Number.MAX_SAFE_INTEGER };
}

async function halfABatch(batch: Batch, commit: Commit): Promise<CommitOutcome> {
  const half = Math.ceil(batch.writes.length / 2);
  const first = await commit({ ...batch, writes: batch.writes.slice(0, half) });
  if (!first.ok) return first;
  const second = await commit({ id: `${batch.id}+`, checks: [], writes: batch.writes.slice(half) });
  return second.ok ? first : second;
}

/** Answers with a version of its own; where a later batch checks that version, waits for the real one first. */
export function replyBeforeCommit(store: Store, isEarly: (batch: Batch) => boolean = () => true): Store {
  const real = new Map<Version, Promise<CommitOutcome>>();
  let version = 2 ** 40;
  const commit = async (batch: Batch): Promise<CommitOutcome> => {
    const checks = await Promise.all(
      batch.checks.map(async (check) => {
        const outcome = await real.get(check.version ?? 0)?.catch(() => undefined);
        return outcome?.ok === true ? { ...check, version: outcome.version } : check;
      }),
    );
    const sent = store.commit({ ...batch, checks });
    if (!isEarly(batch)) return await sent;
    sent.catch(() => {});
    real.set(++version, sent);
    return { ok: true, version };
  };
  return changed(store, { commit });
}

/** Sends what comes a second time under the same id as a new batch that fits the store as it is now. */
function derivedAgain(store: Store): Store {
  const seen = new Map<string, number>();
  return withCommit(store, async (batch, commit) => {
    const times = seen.get(batch.id) ?? 0;
    seen.set(batch.id, times + 1);
    if (times === 0) return await commit(batch);
    const answers = await store.read(batch.checks.map(({ key }) => ({ key })));
    const checks = batch.checks.map(({ key }, at) => ({ key, version: answers[at]![0]?.version ?? null }));
    return await commit({ ...batch, id: `${batch.id}+${times}`, checks });
  });
}

function staleCache(store: Store): Store {
  const known = new Map<string, Answer>();
  return withRead(store, async (queries, read) => {
    const names = queries.map((query) => (queryKind(query) === "state" ? JSON.stringify(query) : undefined));
    if (names.every((name) => name !== undefined && known.has(name))) return names.map((name) => known.get(name!)!);
    const answers = await read(queries);
    for (const [at, name] of names.entries()) if (name !== undefined) known.set(name, answers[at]!);
    return answers;
  });
}

export function writesBeforeThrowing(actor: Actor): Actor {
  return {
    receive: async (message, turn) => {
      try {
        return await actor.receive(message, turn);
      } catch (error) {
        await turn.durable();
        throw error;
      }
    },
    ...(actor.remind === undefined ? {} : { remind: (reminder, turn) => actor.remind!(reminder, turn) }),
  };
}
