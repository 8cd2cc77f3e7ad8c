/** Compares what the server says in the end with what was asked, told to clients, and counted outside. */
import type { Note } from "./client.ts";
import { answerText, type PlannedCall, parseTask, stepsOf, type Task } from "./task.ts";
import type { Effect } from "./world.ts";

export interface ApiMessage {
  readonly id: string;
  readonly message_type: string;
  readonly run_id: string | null;
  readonly content?: unknown;
  readonly tool_calls?: readonly { readonly name: string; readonly arguments: string; readonly tool_call_id: string }[];
  readonly tool_returns?: readonly { readonly status: string; readonly tool_return: string; readonly tool_call_id: string }[];
}

export interface Verdict {
  readonly lost: string[];
  readonly duplicated: string[];
  readonly repeated: string[];
  readonly unknown: number;
  readonly wrong: string[];
}

/** The messages of one agent, oldest first, and the value of its block. */
export interface FinalState {
  readonly messages: readonly ApiMessage[];
  readonly facts: string;
}

export function check(notes: readonly Note[], states: ReadonlyMap<string, FinalState>, effects: ReadonlyMap<string, Effect>): Verdict {
  const verdict = { lost: [] as string[], duplicated: [] as string[], repeated: [] as string[], unknown: 0, wrong: [] as string[] };
  const results = new Map<string, string>();
  for (const [agentId, state] of states) {
    const found = new Map<string, number>();
    for (const turn of turnsOf(state.messages)) {
      if (turn.task === undefined)
        verdict.wrong.push(`${agentId}: a message that no client sent: ${String(turn.messages[0]?.content).slice(0, 80)}`);
      else {
        found.set(turn.task.id, (found.get(turn.task.id) ?? 0) + 1);
        checkTurn(turn.task, turn.messages, verdict, results);
      }
    }
    const mine = notes.filter((note) => note.agentId === agentId);
    for (const note of mine) checkNote(note, found.get(note.task.id) ?? 0, state, verdict);
  }
  checkEffects(effects, results, verdict);
  return verdict;
}

function turnsOf(messages: readonly ApiMessage[]): { readonly task: Task | undefined; readonly messages: readonly ApiMessage[] }[] {
  const turns: { task: Task | undefined; messages: ApiMessage[] }[] = [];
  for (const message of messages) {
    if (message.message_type === "system_message") continue;
    if (message.message_type === "user_message") turns.push({ task: parseTask(String(message.content)), messages: [message] });
    else if (turns.length === 0) turns.push({ task: undefined, messages: [message] });
    else turns.at(-1)!.messages.push(message);
  }
  return turns;
}

/** A task's messages are: what the user said, then for each step its calls and their results, then the answer. */
function checkTurn(
  task: Task,
  messages: readonly ApiMessage[],
  verdict: Verdict & { unknown: number },
  results: Map<string, string>,
): void {
  const expected = ["user_message"];
  for (const _ of stepsOf(task)) expected.push("assistant_message", "tool_call_message", "tool_return_message");
  expected.push("assistant_message");
  const actual = messages.map((message) => message.message_type);
  if (actual.join() !== expected.join()) {
    const list = actual.length > expected.length ? verdict.duplicated : verdict.wrong;
    list.push(`task ${task.id} (${task.plan}) has the messages ${actual.join(", ")}; expected ${expected.join(", ")}`);
    return;
  }
  if (messages.at(-1)!.content !== answerText(task))
    verdict.wrong.push(`task ${task.id} has another answer: ${String(messages.at(-1)!.content).slice(0, 100)}`);
  for (const [index, planned] of stepsOf(task).entries()) {
    const calls = messages[2 + index * 3]!.tool_calls ?? [];
    const returns = messages[3 + index * 3]!.tool_returns ?? [];
    if (calls.length !== planned.length || returns.length !== planned.length)
      verdict.wrong.push(`task ${task.id}: step ${index} has ${calls.length} calls and ${returns.length} results, not ${planned.length}`);
    for (const [at, call] of planned.entries()) {
      const result = returns.find((each) => each.tool_call_id === calls[at]?.tool_call_id);
      if (result === undefined) verdict.wrong.push(`task ${task.id}: ${call.name} has no result`);
      else checkResult(task, call, result, verdict, results);
    }
  }
}

function checkResult(
  task: Task,
  call: PlannedCall,
  result: { readonly status: string; readonly tool_return: string },
  verdict: Verdict & { unknown: number },
  results: Map<string, string>,
): void {
  const isUnknown = result.status === "error" && result.tool_return.includes("is unknown");
  if (isUnknown && call.name.endsWith("once")) {
    verdict.unknown++;
    results.set(String(call.arguments["task"]), "unknown");
  } else if (result.status !== "success") verdict.wrong.push(`task ${task.id}: ${call.name} failed: ${result.tool_return.slice(0, 200)}`);
  else if (call.name !== "memory_insert") results.set(String(call.arguments["task"]), "success");
}

/** Whether a tool has said nothing of itself, or that it must not be repeated. What becomes of calls of a checked one is found out. */
function isOnce(tool: string): boolean {
  return tool.endsWith("once") || tool.endsWith("checked");
}

function checkNote(note: Note, times: number, state: FinalState, verdict: Verdict): void {
  const name = `task ${note.task.id} (${note.task.plan}, ${note.mode})`;
  if (note.problem !== undefined) verdict.wrong.push(`${name}: ${note.problem}`);
  if (times > 1) verdict.duplicated.push(`${name} is in the conversation ${times} times`);
  if (times === 0 && note.accepted) verdict.lost.push(`${name} was acknowledged and is not in the conversation`);
  if (times === 0) return;
  const facts = state.facts.split("\n").filter((line) => line.trim() === `fact ${note.task.id}`).length;
  const wanted = stepsOf(note.task)
    .flat()
    .filter((call) => call.name === "memory_insert").length;
  if (facts < wanted) verdict.lost.push(`${name}: its memory edit is lost`);
  if (facts > wanted) verdict.duplicated.push(`${name}: its memory edit happened ${facts} times`);
  if (note.mode === "stream") checkStream(name, note, state, verdict);
}

/** What a client put together from the stream, over all its cuts, is what the conversation has. */
function checkStream(name: string, note: Note, state: FinalState, verdict: Verdict): void {
  for (let index = 1; index < note.seqs.length; index++) {
    if (note.seqs[index]! <= note.seqs[index - 1]!) {
      verdict.duplicated.push(`${name}: event ${note.seqs[index]} came after ${note.seqs[index - 1]}`);
      return;
    }
  }
  if (!note.finished) return;
  for (const message of state.messages) {
    if (message.run_id !== note.runId || message.message_type !== "assistant_message") continue;
    const text = note.texts.get(message.id);
    if (text !== message.content)
      verdict.wrong.push(`${name}: the stream showed ${JSON.stringify(text)} for ${JSON.stringify(message.content)}`);
  }
}

/** Every effect that may not be repeated happened at most once, and exactly once where the conversation says so. */
function checkEffects(effects: ReadonlyMap<string, Effect>, results: ReadonlyMap<string, string>, verdict: Verdict): void {
  const once = new Map<string, number>();
  const ids = new Map<string, number>();
  for (const effect of effects.values()) {
    ids.set(effect.task, (ids.get(effect.task) ?? 0) + 1);
    if (isOnce(effect.tool)) once.set(effect.task, (once.get(effect.task) ?? 0) + effect.calls);
  }
  for (const [task, calls] of once) if (calls > 1) verdict.repeated.push(`${task} happened ${calls} times`);
  for (const [task, count] of ids) if (count > 1) verdict.repeated.push(`${task} was called under ${count} effect ids`);
  for (const [task, result] of results)
    if (result === "success" && !ids.has(task)) verdict.wrong.push(`${task} has a result and never happened`);
}
