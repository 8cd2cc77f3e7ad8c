/** Bugs to plant in how messages between actors are kept, found and handled. */
import { decodeJson, encodeJson } from "../src/base/json.ts";
import type { SentRow } from "../src/actors/actor-rows.ts";
import type { Batch, CommitOutcome, Query, Write } from "../src/storage/store.ts";
import { isSet, rowKind, withCommit, withRead, withWrites, writesBeforeThrowing } from "./mutants.ts";
import type { Mutant } from "./world.ts";

const workload = "messages";

export const messageMutants: readonly Mutant[] = [
  {
    name: "message-not-deleted",
    breaks: "the turn that handles a message leaves it in the inbox",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !isTakenOut(write)),
  },
  {
    name: "message-deleted-before",
    breaks: "a message is taken out of the inbox before its turn is durable, in a batch of its own",
    workload,
    seedsMax: 200,
    wrapStore: (store) => withCommit(store, async (batch, commit) => await inTwo(batch, commit, "before")),
  },
  {
    name: "message-deleted-after",
    breaks: "a message is taken out of the inbox after its turn is durable, in a batch of its own",
    workload,
    seedsMax: 200,
    wrapStore: (store) => withCommit(store, async (batch, commit) => await inTwo(batch, commit, "after")),
  },
  {
    name: "message-sent-after",
    breaks: "messages are put into inboxes after the turn that sends them is durable, in a batch of their own",
    workload,
    seedsMax: 200,
    wrapStore: (store) =>
      withCommit(store, async (batch, commit) => {
        const own = batch.writes.filter((write) => !isSet(write, "inbox"));
        const outcome = await commit({ ...batch, writes: own });
        if (!outcome.ok || own.length === batch.writes.length) return outcome;
        const sent = batch.writes.filter((write) => isSet(write, "inbox"));
        await commit({ id: `${batch.id}+`, checks: [], writes: sent }).catch(() => undefined);
        return outcome;
      }),
  },
  {
    name: "inboxes-not-searched",
    breaks: "nobody looks for what waits in inboxes, so that after a crash it depends on new messages",
    workload,
    seedsMax: 100,
    wrapStore: (store) =>
      withRead(store, async (queries, read) => (await read(queries)).map((answer, at) => (isSearch(queries[at]!) ? [] : answer))),
  },
  {
    name: "messages-in-any-order",
    breaks: "an inbox is gone through from its end",
    workload,
    seedsMax: 100,
    wrapStore: (store) =>
      withRead(store, async (queries, read) => {
        const answers = await read(queries);
        return answers.map((answer, at) => (isPage(queries[at]!) && answer.length < pageRows ? answer.toReversed() : answer));
      }),
  },
  {
    name: "messages-read-stale",
    breaks: "an inbox is read as it was a moment ago, so that a message may show that was handled meanwhile",
    workload,
    seedsMax: 300,
    wrapStore: (store) => {
      const earlier = new Map<string, Awaited<ReturnType<typeof store.read>>[number]>();
      return withRead(store, async (queries, read) => {
        const answers = await read(queries);
        return answers.map((answer, at) => {
          if (!isPage(queries[at]!)) return answer;
          const name = JSON.stringify(queries[at]);
          const before = earlier.get(name);
          earlier.set(name, answer);
          return before ?? answer;
        });
      });
    },
  },
  {
    name: "failures-not-counted",
    breaks: "a message over which a turn threw is put back as if it were new, so that it is never given up",
    workload,
    seedsMax: 300,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) =>
        commit({ ...batch, writes: batch.writes.map((write) => (isSet(write, "inbox") ? asNew(write) : write)) }),
      ),
  },
  {
    name: "throwing-turn-sends",
    breaks: "what a turn sent before it threw leaves",
    workload,
    seedsMax: 100,
    wrapType: (type) => ({ ...type, create: (activation) => writesBeforeThrowing(type.create(activation)) }),
  },
  {
    name: "messages-not-fenced",
    breaks: "batches do not check the actor's header, so two activations may take out one message",
    workload,
    seedsMax: 500,
    isRunning: () => false,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) => commit({ ...batch, checks: batch.checks.filter((check) => rowKind(check.key) !== "header") })),
  },
];

/** Rows of an inbox that are read at one time. */
const pageRows = 32;

function isTakenOut(write: Write): boolean {
  return write.kind === "delete" && rowKind(write.key) === "inbox";
}

async function inTwo(batch: Batch, commit: (batch: Batch) => Promise<CommitOutcome>, when: "before" | "after"): Promise<CommitOutcome> {
  const taken = batch.writes.filter(isTakenOut);
  if (taken.length === 0) return await commit(batch);
  const other: Batch = { id: `${batch.id}+`, checks: [], writes: taken };
  if (when === "before") await commit(other);
  const outcome = await commit({ ...batch, writes: batch.writes.filter((write) => !isTakenOut(write)) });
  if (when === "after" && outcome.ok) await commit(other).catch(() => undefined);
  return outcome;
}

function isPage(query: Query): boolean {
  return "begin" in query && query.limit === pageRows && rowKind(query.begin) === "inbox";
}

function isSearch(query: Query): boolean {
  return "begin" in query && query.limit === 1 && rowKind(query.begin) === "inbox";
}

function asNew(write: Write): Write {
  if (write.kind !== "set") return write;
  const { at, message } = decodeJson<SentRow>(write.value);
  return { ...write, value: encodeJson({ at, message }) };
}
