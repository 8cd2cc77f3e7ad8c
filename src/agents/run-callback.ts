/**
 * Tells the server that a client named with its request that the run is over: at least once, also after a crash.
 *
 * A reminder that is set in the batch that ends the run stands for the callback until an answer is in the run's record.
 */
import type { Activation, Reminder, Turn } from "../actors/actor.ts";
import { transact } from "../storage/transaction.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { type RunRecord, runs } from "./run.ts";

/** Posts a body to an address and gives the status of the answer; throws when there is none. */
export type Callback = (url: string, body: unknown) => Promise<number>;

const reminderPrefix = "callback ";
const attemptsMax = 8;
const firstPauseMilliseconds = 5_000;

/** Sets the reminder in the turn that ends a run with a callback. */
export function remindCallback(turn: Turn, runId: string, now: number): void {
  turn.remind(reminderPrefix + runId, { due: now, payload: 1, earlyAfterRestart: true });
}

/** Handles a reminder of a callback; false: it is another one. The call itself runs after the turn. */
export function handleCallback(conversation: ConversationEnvironment, activation: Activation, reminder: Reminder, turn: Turn): boolean {
  if (!reminder.name.startsWith(reminderPrefix)) return false;
  const attempt = typeof reminder.payload === "number" ? reminder.payload : attemptsMax;
  // The next attempt is set before this one leaves, so a crash in the middle loses none.
  const next = { due: conversation.environment.clock.now() + firstPauseMilliseconds * 2 ** attempt, payload: attempt + 1 };
  turn.remind(reminder.name, attempt < attemptsMax ? next : undefined);
  const call = async (): Promise<void> => {
    if (!(await callBack(conversation, reminder.name.slice(reminderPrefix.length)))) return;
    await activation.turn(async (later) => later.remind(reminder.name, undefined));
  };
  activation.background(call());
  return true;
}

/** True: nothing is left to do. */
async function callBack(conversation: ConversationEnvironment, runId: string): Promise<boolean> {
  const { store, environment, address, callback } = conversation;
  const [run] = await runs.read(store, address.project, [runId]);
  if (run === undefined || run.callback_url === null) return true;
  let result: Pick<RunRecord, "callback_status_code" | "callback_error">;
  try {
    const { kelpie: _, ...body } = run;
    result = { callback_status_code: await callback(run.callback_url, body), callback_error: null };
  } catch (error) {
    result = { callback_status_code: null, callback_error: error instanceof Error ? error.message : String(error) };
  }
  const callback_sent_at = new Date(environment.clock.now()).toISOString();
  await transact(store, environment, async (transaction) => {
    const before = await runs.get(transaction, address.project, runId);
    if (before !== undefined) runs.replace(transaction, address.project, before, { ...before, ...result, callback_sent_at });
  });
  return result.callback_status_code !== null && result.callback_status_code < 500;
}
