import { assert } from "../base/assert.ts";
import type { Environment } from "../environment/environment.ts";
import type { Actor, Reminder } from "./actor.ts";
import type { ActorTurn } from "./actor-turn.ts";
import type { Task } from "./envelope.ts";
import type { TurnEnd } from "./turn-end.ts";

/** Lets `actor` do one task, as `turn`. */
export async function runTask(actor: Actor, task: Task, turn: ActorTurn, environment: Environment): Promise<TurnEnd> {
  try {
    if (task.kind === "message") return { kind: "reply", reply: await actor.receive(task.message, turn) };
    if (task.kind === "sent") return { kind: "reply", reply: await actor.receive(task.sent.row.message, turn) };
    if (task.kind === "own") return { kind: "reply", reply: await task.work(turn) };
    assert(task.kind === "reminder", "To look into the inbox takes no turn");
    return { kind: "reply", reply: await remind(actor, task, turn, environment) };
  } catch (error) {
    return { kind: "error", error };
  }
}

async function remind(
  actor: Actor,
  { name, due }: { readonly name: string; readonly due: number },
  turn: ActorTurn,
  environment: Environment,
): Promise<void> {
  const row = await turn.readReminder(name);
  if (row?.due !== due) {
    turn.forgetDue(name, due);
    return;
  }
  if (actor.remind === undefined) throw new Error(`An actor has no remind method, and its reminder ${name} is due`);
  const reminder: Reminder = { name, due, payload: row.payload };
  await actor.remind(reminder, turn);
  turn.delivered(reminder);
  environment.probe("actors.reminderDelivered");
}
