/** Bugs to plant around calls whose outcome nobody knows. */
import { conversationActorType } from "../../src/agents/conversation.ts";
import type { ConversationMessage } from "../../src/agents/conversation-actor.ts";
import type { EffectRecord } from "../../src/agents/effect-ledger.ts";
import type { ActorType } from "../../src/actors/actor.ts";
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import type { Store } from "../../src/storage/store.ts";
import type { Tool } from "../../src/tools/tool.ts";
import { isSet, rowKind, withCommit, withReceive, withWrites } from "../mutants.ts";
import type { Mutant } from "../world.ts";

const workload = "effects";

export const effectMutants: readonly Mutant[] = [
  {
    name: "reconcile-guesses",
    breaks: "a tool that knows nothing of a call says that it did not happen",
    workload,
    seedsMax: 300,
    wrapTool: guessing,
  },
  {
    name: "settlement-ignored",
    breaks: "what a person says of a call is acknowledged and not written",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withEffects(store, ({ settled: _, ...effect }) => ({ ...effect, state: "unknown" })),
  },
  {
    name: "settled-twice",
    breaks: "a call that was settled can be settled as something else",
    workload,
    seedsMax: 200,
    wrapType: (type) => (type.type === conversationActorType ? agreeing(type) : type),
  },
  {
    name: "settled-listed",
    breaks: "lists of unknown calls go on to show one that was settled",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !(write.kind === "delete" && rowKind(write.key) === "effect.unknown")),
  },
  {
    name: "unknown-unlisted",
    breaks: "lists of unknown calls do not show them",
    workload,
    seedsMax: 100,
    wrapStore: (store) => withWrites(store, (write) => !isSet(write, "effect.unknown")),
  },
  {
    name: "settlement-untold",
    breaks: "an agent does not hear of what was said of its call",
    workload,
    seedsMax: 200,
    wrapStore: (store) =>
      withWrites(
        store,
        (write) => !(isSet(write, "message") && write.kind === "set" && Buffer.from(write.value).includes("What became of")),
      ),
  },
];

function guessing(tool: Tool): Tool {
  if (tool.effect === "state" || tool.reconcile === undefined) return tool;
  return { ...tool, reconcile: () => Promise.resolve({ outcome: "didNotHappen" }) };
}

/** Changes what is written of effects that were settled. */
function withEffects(store: Store, change: (effect: EffectRecord) => EffectRecord): Store {
  return withCommit(store, (batch, commit) =>
    commit({
      ...batch,
      writes: batch.writes.map((write) => {
        if (!isSet(write, "effect") || write.kind !== "set") return write;
        const effect = decodeJson<EffectRecord>(write.value);
        return effect.settled === undefined ? write : { ...write, value: encodeJson(change(effect)) };
      }),
    }),
  );
}

/** Whatever is said of an effect is taken, once more each time. */
function agreeing(type: ActorType): ActorType {
  return withReceive(type, async (message, turn, receive) => {
    const outcome = await receive(message, turn);
    const { kind } = message as ConversationMessage;
    return kind === "settle" ? { ...(outcome as object), ok: true } : outcome;
  });
}
