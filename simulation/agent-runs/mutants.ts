/** Bugs to plant below, above and beside the agents: all of them outside of the code that ships. */
import type { ActorType } from "../../src/actors/actor.ts";
import { conversationActorType, type ContextState, type PendingApproval, type RunProgress } from "../../src/agents/conversation.ts";
import type { ConversationMessage } from "../../src/agents/conversation-actor.ts";
import type { InputMessage } from "../../src/agents/conversations.ts";
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import { decodeTuple } from "../../src/base/tuple.ts";
import { transact } from "../../src/storage/transaction.ts";
import type { Answer, Batch, Store, Write } from "../../src/storage/store.ts";
import type { OutsideTool, StateTool, Tool } from "../../src/tools/tool.ts";
import { isSet, replyBeforeCommit, rowKind, withCommit, withRead, withReceive, withWrites } from "../mutants.ts";
import type { SwarmOptions } from "../swarm.ts";
import type { Mutant } from "../world.ts";

const workload = "agent-runs";

export const agentMutants: readonly Mutant[] = [
  {
    name: "intent-after-call",
    breaks: "a tool is called before the intent of its call is durable",
    workload,
    seedsMax: 100,
    wrapStore: (store) => replyBeforeCommit(store, (batch) => batch.writes.some((write) => isSet(write, "effect"))),
  },
  {
    name: "started-forgotten",
    breaks: "the journal forgets that a call has left, so that it is made again after a crash",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapStore: (store) =>
      withProgress(store, (progress) => ({
        ...progress,
        calls: progress.calls.map((call) => (call.state === "started" ? { ...call, state: "intended" } : call)),
      })),
  },
  {
    name: "effect-id-fresh",
    breaks: "a call gets another effect id each time that it is made",
    workload,
    seedsMax: 100,
    wrapTool: freshEffectIds,
  },
  {
    name: "run-reminder-lost",
    breaks: "the reminder of a run is not in the order of time, so that nobody goes on with it after a crash",
    workload,
    seedsMax: 200,
    wrapStore: (store) => withWrites(store, (write) => !isSet(write, "reminder")),
  },
  {
    name: "otids-forgotten",
    breaks: "a conversation does not remember the otids of the messages that it took",
    workload,
    seedsMax: 200,
    wrapStore: (store) => withWrites(store, (write) => !isStateSet(write, "otid")),
  },
  {
    name: "events-before-durable",
    breaks: "token events of a background run are shown while their batch is on its way",
    workload,
    seedsMax: 200,
    wrapStore: (store) => replyBeforeCommit(store, hasOnlyEvents),
  },
  {
    name: "events-lost",
    breaks: "token events of a background run are shown and never written",
    workload,
    seedsMax: 100,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) =>
        commit(hasOnlyEvents(batch) ? { ...batch, writes: batch.writes.filter((write) => !isSet(write, "event")) } : batch),
      ),
  },
  {
    name: "message-id-fresh",
    breaks: "a step that is done again after a crash shows its answer under another id",
    workload,
    seedsMax: 300,
    wrapStore: freshMessageIds,
  },
  {
    name: "resumes-forgotten",
    breaks: "a run that is taken up again a second time in a step gives its events the numbers of the first time",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapStore: (store) => withProgress(store, (progress) => ({ ...progress, resumes: 0 })),
  },
  {
    name: "progress-forgotten",
    breaks: "an answer is written without the progress of its run, so that the step is done again after a crash",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapStore: (store) =>
      withCommit(store, (batch, commit) => {
        const hasStep = batch.writes.some((write) => isSet(write, "step"));
        return commit(hasStep ? { ...batch, writes: batch.writes.filter((write) => !isStateSet(write, "progress")) } : batch);
      }),
  },
  {
    name: "state-tool-apart",
    breaks: "a state tool changes the store in a batch of its own, before that of its call",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapTool: applyApart,
  },
  {
    name: "active-row-kept",
    breaks: "the end of a run does not take it from the list of active ones",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !(write.kind === "delete" && rowKind(write.key) === "run.active")),
  },
  {
    name: "open-calls-unanswered",
    breaks: "a run that ends in the middle of its calls leaves them without results",
    workload,
    seedsMax: 300,
    wrapStore: (store) =>
      withWrites(store, (write) => !(isSet(write, "message") && write.kind === "set" && textOf(write).includes("The run was ended"))),
  },
  {
    name: "cancel-ignored",
    breaks: "a cancel is acknowledged and not done",
    workload,
    seedsMax: 300,
    wrapType: (type) => (type.type === conversationActorType ? ignoringCancels(type) : type),
  },
  {
    name: "approval-row-forgotten",
    breaks: "lists do not show a conversation that waits for an approval",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !isSet(write, "approval")),
  },
  {
    name: "approval-row-kept",
    breaks: "lists go on to show a conversation whose approval was given",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !(write.kind === "delete" && rowKind(write.key) === "approval")),
  },
  {
    name: "approval-expiry-ignored",
    breaks: "an approval is taken however late it comes",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapStore: (store) =>
      withContext(store, (context) => (context.pending === null ? context : { ...context, pending: withoutExpiry(context.pending) })),
  },
  {
    name: "approval-reused",
    breaks: "a conversation waits on when its approval was given, so that it can be given again",
    workload,
    seedsMax: 300,
    options: onlyAfterCrash,
    wrapStore: (store) => waitingOn(withWrites(store, (write) => !(write.kind === "delete" && rowKind(write.key).startsWith("approval")))),
  },
  {
    name: "approval-for-any-request",
    breaks: "an approval counts for whatever waits when it comes",
    workload,
    seedsMax: 100,
    wrapType: (type) => (type.type === conversationActorType ? forAnyRequest(type) : type),
  },
  {
    name: "approval-hash-ignored",
    breaks: "an approval is bound to what the tool is when it comes, and not to what it was when it was asked for",
    workload,
    seedsMax: 200,
    wrapStore: (store) => rememberingFirst(store, "tool"),
  },
  {
    name: "policy-remembered",
    breaks: "a policy that was changed between the ask and the approval does not count when the call leaves",
    workload,
    seedsMax: 200,
    wrapStore: (store) => rememberingFirst(store, "tool_policy"),
  },
];

/** An activation remembers all of its rows, so what is wrong in the store shows when it is read again: after one of many crashes. */
function onlyAfterCrash(options: SwarmOptions): SwarmOptions {
  return { ...options, cachedRows: 1_000, crashEveryMilliseconds: 300, restartAfterMilliseconds: 1 };
}

function isStateSet(write: Write, row: string): boolean {
  return isSet(write, "state") && write.kind === "set" && decodeTuple(write.key)[4] === row;
}

function textOf(write: Write & { readonly kind: "set" }): string {
  return Buffer.from(write.value).toString();
}

/** A batch that the emitter of a background run makes for its tokens. */
function hasOnlyEvents(batch: Batch): boolean {
  const kinds = batch.writes.flatMap((write) => (write.kind === "set" ? [rowKind(write.key)] : ["other"]));
  return kinds.includes("event") && kinds.every((kind) => kind === "event" || kind === "header");
}

/** Changes what the journal writes about how far a run has come. */
function withProgress(store: Store, change: (progress: RunProgress) => RunProgress): Store {
  return withCommit(store, (batch, commit) =>
    commit({
      ...batch,
      writes: batch.writes.map((write) =>
        isStateSet(write, "progress") && write.kind === "set"
          ? { ...write, value: encodeJson(change(decodeJson<RunProgress>(write.value))) }
          : write,
      ),
    }),
  );
}

function freshMessageIds(store: Store): Store {
  let reads = 0;
  return withRead(store, async (queries, read) =>
    (await read(queries)).map((answer, at) => {
      const query = queries[at]!;
      if (!("key" in query) || rowKind(query.key) !== "state" || decodeTuple(query.key)[4] !== "progress") return answer;
      const fresh = (id: string): string => `${id.slice(0, -4)}${(++reads).toString(16).padStart(4, "0")}`;
      return answer.map((entry) => {
        const progress = decodeJson<RunProgress>(entry.value);
        return { ...entry, value: encodeJson({ ...progress, step: { ...progress.step, messageId: fresh(progress.step.messageId) } }) };
      });
    }),
  );
}

function freshEffectIds(tool: Tool): Tool {
  if (tool.effect === "state") return tool;
  let calls = 0;
  const fresh: OutsideTool = {
    ...tool,
    execute: (input, context) => tool.execute(input, { ...context, effectId: `${context.effectId}+${++calls}` }),
  };
  return fresh;
}

function applyApart(tool: Tool): Tool {
  if (tool.effect !== "state") return tool;
  const apart: StateTool = {
    ...tool,
    execute: (input, context) =>
      transact(context.store, context.environment, (transaction) => tool.execute(input, { ...context, transaction })),
  };
  return apart;
}

function ignoringCancels(type: ActorType): ActorType {
  return withReceive(type, async (message, turn, receive) => {
    if ((message as ConversationMessage).kind !== "cancel") return await receive(message, turn);
    const context = await turn.state.get<ContextState>(["context"]);
    return context?.runId == null ? { ok: false, reason: "noActiveRun" } : { ok: true, runId: context.runId };
  });
}

/** Changes what is written of a conversation's context. */
function withContext(store: Store, change: (context: ContextState, key: string) => ContextState): Store {
  return withCommit(store, (batch, commit) =>
    commit({
      ...batch,
      writes: batch.writes.map((write) =>
        isStateSet(write, "context") && write.kind === "set"
          ? { ...write, value: encodeJson(change(decodeJson<ContextState>(write.value), String(decodeTuple(write.key)[3]))) }
          : write,
      ),
    }),
  );
}

function withoutExpiry({ expiresAt: _, ...pending }: PendingApproval): PendingApproval {
  return pending;
}

function waitingOn(store: Store): Store {
  const waited = new Map<string, PendingApproval>();
  return withContext(store, (context, key) => {
    if (context.pending !== null) waited.set(key, context.pending);
    return { ...context, pending: waited.get(key) ?? null };
  });
}

/** Rows of a kind are in each incarnation as it saw them first. */
function rememberingFirst(store: Store, kind: string): Store {
  const known = new Map<string, Answer>();
  return withRead(store, async (queries, read) => {
    const answers = await read(queries);
    return answers.map((answer, at) => {
      const query = queries[at]!;
      if (!("key" in query) || rowKind(query.key) !== kind) return answer;
      const name = JSON.stringify(decodeTuple(query.key));
      if (!known.has(name)) known.set(name, answer);
      return known.get(name)!;
    });
  });
}

/** Changes what a conversation is sent. */
function withRequests(type: ActorType, change: (message: InputMessage) => InputMessage): ActorType {
  return withReceive(type, async (message, turn, receive) => {
    const sent = message as ConversationMessage;
    if (sent.kind !== "send") return await receive(message, turn);
    return await receive({ ...sent, request: { ...sent.request, messages: sent.request.messages.map(change) } }, turn);
  });
}

function forAnyRequest(type: ActorType): ActorType {
  return withRequests(type, (message) => {
    if (message.type !== "approval") return message;
    const { requestId: _, ...rest } = message;
    return rest;
  });
}
