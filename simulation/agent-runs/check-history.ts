/** Conversations, runs and effects, held against what was asked for. */
import type { ChatMessage, ToolCall, ToolReturn } from "../../src/agents/chat-message.ts";
import type { ConversationAddress } from "../../src/agents/conversation.ts";
import type { RunRecord } from "../../src/agents/run.ts";
import type { World } from "../world.ts";
import type { Leg, Note } from "./agent-client.ts";
import { type AgentCluster, keyOf } from "./agent-cluster.ts";
import type { FinalState } from "./final-state.ts";
import { answerOf, checkedTool, type PlannedCall, stepsOf, type Task, taskText, waitingTools } from "./task.ts";

/** Ends after which a run's history is only the beginning of what was planned. */
const earlyStops = ["cancelled", "error", "llm_api_error", "invalid_llm_response"];

export function checkHistories(cluster: AgentCluster, notes: readonly Note[], state: FinalState): void {
  const { world } = cluster;
  for (const [address, messages] of state.messages) {
    checkOrder(world, address, messages, state);
    const own = notes.filter((note) => note.address === address);
    for (const note of own) checkNote(cluster, note, messages, state);
    for (const message of messages) {
      if (message.otid === undefined) continue;
      if (!own.some((note) => note.legs.some((leg) => leg.otid === message.otid)))
        world.violation(`J1: ${keyOf(address)} has the message ${message.otid}, which nobody sent there`);
    }
  }
  for (const note of notes) checkCalls(cluster, note, state);
}

/** Messages of a conversation have different positions, and those of a run stand together (J2). */
function checkOrder(world: World, address: ConversationAddress, messages: readonly ChatMessage[], state: FinalState): void {
  const over = new Set<string>();
  let current: string | undefined;
  for (const message of messages) {
    const id = message.run_id;
    if (id === undefined && !["system", "summary"].includes(message.body.role))
      world.violation(`J2: ${message.id} of ${keyOf(address)} (${message.body.role}) belongs to no run`);
    if (id === undefined || id === current) continue;
    if (current !== undefined) over.add(current);
    if (over.has(id)) world.violation(`J2: ${id} has messages on both sides of another run`);
    if (!state.runs.has(id)) world.violation(`J2: ${id} has messages and no record`);
    current = id;
  }
}

/** A task is in its conversation once if it was acknowledged, else at most once (J1), with an allowed history (J2). */
function checkNote(cluster: AgentCluster, note: Note, messages: readonly ChatMessage[], state: FinalState): void {
  const { world } = cluster;
  const name = `${note.task.id} (${note.task.plan})`;
  let step = 0;
  for (const [at, leg] of note.legs.entries()) {
    const asked = messages.filter((message) => message.otid === leg.otid);
    if (asked.length > 1) world.violation(`J1: ${leg.otid} is in its conversation ${asked.length} times`);
    if (asked.length === 0 && leg.runId !== undefined) world.violation(`J1: ${leg.otid} was acknowledged and is not in its conversation`);
    const runId = asked[0]?.run_id;
    if (runId === undefined) continue;
    if (leg.runId !== undefined && leg.runId !== runId)
      world.violation(`J1: ${leg.otid} was acknowledged as ${leg.runId} and is in ${runId}`);
    const run = state.runs.get(runId)!;
    const actual = messages.filter((message) => message.run_id === runId);
    const previous = at === 0 ? [] : messages.filter((message) => message.run_id === note.legs[at - 1]!.runId);
    step = checkRun(cluster, { name, note, leg, at, step, run, actual, previous });
    checkCancelled(world, leg, run, actual);
  }
}

function checkRun(
  { world, approvals }: AgentCluster,
  {
    name,
    note,
    leg,
    at,
    step,
    run,
    actual,
    previous,
  }: {
    readonly name: string;
    readonly note: Note;
    readonly leg: Leg;
    readonly at: number;
    readonly step: number;
    readonly run: RunRecord;
    readonly actual: readonly ChatMessage[];
    readonly previous: readonly ChatMessage[];
  },
): number {
  const planned = plannedRun(note.task, at === 0, step, leg.stepsMax);
  const seen = outline(actual, previous);
  const stop = run.stop_reason ?? "none";
  const isEarly = earlyStops.includes(stop);
  // A pending approval that a cancel or a later message closed got its results in the run that had asked.
  const closed = planned.stop === "requires_approval" && (leg.isCancelAsked || approvals.mayExpire) ? planned.closed : [];
  const fits = isEarly
    ? seen.every((line, index) => line === planned.lines[index]) && !(seen.at(-1)?.startsWith("calls") ?? false)
    : stop === planned.stop && [planned.lines, [...planned.lines, ...closed]].some((lines) => lines.join("\n") === seen.join("\n"));
  if (!fits)
    world.violation(
      `J2: the run ${run.id} of ${name} stopped with ${stop} and has\n  ${seen.join("\n  ")}\nThe plan stops with ${planned.stop} after\n  ${planned.lines.join("\n  ")}`,
    );
  return planned.step;
}

interface PlannedRun {
  readonly lines: readonly string[];
  readonly stop: string;
  /** What a cancel adds when the run had stopped for an approval. */
  readonly closed: readonly string[];
  /** The step that a next run of the task begins with. */
  readonly step: number;
}

/** What a run leaves if nothing goes wrong. */
function plannedRun(task: Task, isFirst: boolean, from: number, stepsMax: number): PlannedRun {
  const planned = stepsOf(task);
  const results = (calls: readonly PlannedCall[]): string => `results ${calls.map((call) => call.name).join(" ")}`;
  const lines: string[] = [isFirst ? `user ${taskText(task)}` : "decisions", ...(isFirst ? [] : [results(planned[from]!)])];
  let steps = lines.length - 1;
  for (let step = isFirst ? from : from + 1; ; step++) {
    if (steps >= stepsMax) return { lines, stop: "max_steps", closed: [], step };
    const calls = planned[step];
    const text = answerOf(task, step)
      .flatMap((part) => (part.type === "toolCall" ? [] : [part.text]))
      .join(" | ");
    if (calls === undefined) return { lines: [...lines, `says ${text}`], stop: "end_turn", closed: [], step };
    lines.push(`calls ${callsText(calls)} and says ${text}`);
    if (calls.some((call) => waitingTools.includes(call.name)))
      return { lines, stop: "requires_approval", closed: ["decisions", results(calls)], step };
    lines.push(results(calls));
    steps++;
  }
}

/** The same of what is stored. Calls that wait are stored apart from the others of their answer. */
function outline(messages: readonly ChatMessage[], previous: readonly ChatMessage[]): string[] {
  const lines: string[] = [];
  let calls: readonly ToolCall[] = callsOf(previous);
  for (const [at, { body }] of messages.entries()) {
    if (body.role === "user") lines.push(`user ${typeof body.content === "string" ? body.content : "with more than text"}`);
    else if (body.role === "approvalResponse") lines.push("decisions");
    else if (body.role === "tool") {
      const names = body.returns.map((each) => calls.find((call) => call.tool_call_id === each.tool_call_id)?.name ?? "nothing");
      const isExact = calls.length === body.returns.length;
      lines.push(`results ${names.join(" ")}${isExact ? "" : ` for ${calls.length} calls`}`);
    } else if (body.role === "assistant" || body.role === "approval") {
      const next = messages[at + 1]?.body;
      // Two messages of one answer make one line.
      if (next?.role === "approval") continue;
      const answer = answerEndingAt(messages, at);
      calls = answer.calls;
      const text = answer.texts.join(" | ");
      lines.push(calls.length === 0 ? `says ${text}` : `calls ${callsText(inPlannedOrder(calls))} and says ${text}`);
    } else lines.push(body.role);
  }
  return lines;
}

function answerEndingAt(
  messages: readonly ChatMessage[],
  at: number,
): { readonly calls: readonly ToolCall[]; readonly texts: readonly string[] } {
  const from = messages[at]!.body.role === "approval" && messages[at - 1]?.body.role === "assistant" ? at - 1 : at;
  const calls: ToolCall[] = [];
  const texts: string[] = [];
  for (const { body } of messages.slice(from, at + 1)) {
    if (body.role !== "assistant" && body.role !== "approval") continue;
    calls.push(...body.calls);
    for (const part of body.parts) texts.push(part.type === "text" ? part.text : part.type === "reasoning" ? part.reasoning : "");
  }
  return { calls: inPlannedOrder(calls), texts };
}

/** The calls of the last answer of a run. */
function callsOf(messages: readonly ChatMessage[]): readonly ToolCall[] {
  const at = messages.findLastIndex(({ body }) => body.role === "assistant" || body.role === "approval");
  return at < 0 ? [] : answerEndingAt(messages, at).calls;
}

/** The number of a call within its answer is the end of its id. */
function inPlannedOrder(calls: readonly ToolCall[]): ToolCall[] {
  const number = (call: ToolCall): number => Number(call.tool_call_id.split("_").at(-1));
  return calls.toSorted((left, right) => number(left) - number(right));
}

function callsText(calls: readonly (PlannedCall | ToolCall)[]): string {
  return calls
    .map((call) => `${call.name}(${typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments)})`)
    .join(" ");
}

/** A run whose cancel was acknowledged has ended so and got no further message (J8). */
function checkCancelled(world: World, leg: Leg, run: RunRecord, messages: readonly ChatMessage[]): void {
  if (leg.cancelledAt === undefined) return;
  const wasWaiting = run.stop_reason === "requires_approval";
  if (run.status !== "cancelled" && !wasWaiting) world.violation(`J8: ${run.id} was cancelled, and it is ${run.status}`);
  if (messages.length !== leg.cancelledAt.messages)
    world.violation(`J8: ${run.id} had ${leg.cancelledAt.messages} messages when it was cancelled, and has ${messages.length}`);
}

/** Every call that is stored, with its result, against what the world and the store have of it (J3, J4, J5). */
function checkCalls(cluster: AgentCluster, note: Note, state: FinalState): void {
  const runs = new Set(note.legs.map((leg) => leg.runId).filter((id) => id !== undefined));
  const messages = state.messages.get(note.address)!.filter(({ run_id }) => run_id !== undefined && runs.has(run_id));
  const returns = new Map<string, ToolReturn>();
  for (const { body } of messages) if (body.role === "tool") for (const each of body.returns) returns.set(each.tool_call_id, each);
  const stored = new Set<string>();
  for (const { body, run_id } of messages) {
    if (body.role !== "assistant" && body.role !== "approval") continue;
    for (const call of body.calls) {
      stored.add(factOf(call) ?? call.arguments);
      checkCall(cluster, call, returns.get(call.tool_call_id), run_id!, state);
    }
  }
  // What was not stored as a call has not happened.
  for (const call of stepsOf(note.task).flat()) {
    const fact = factOf(call);
    if (fact !== undefined && !stored.has(fact) && state.facts.has(fact))
      cluster.world.violation(`J5: ${JSON.stringify(fact)} is remembered, and no call of it is stored`);
  }
}

function checkCall(cluster: AgentCluster, call: ToolCall, result: ToolReturn | undefined, runId: string, state: FinalState): void {
  const { world } = cluster;
  const name = `${call.name}(${call.arguments}) of ${runId}`;
  const fact = factOf(call);
  if (fact !== undefined) {
    const times = state.facts.get(fact) ?? 0;
    const expected = result?.status === "success" ? 1 : 0;
    if (times !== expected) world.violation(`J5: ${name} has the result ${JSON.stringify(result)}, and its fact is there ${times} times`);
    if (result?.status === "error" && !wasNotMade(result)) world.violation(`J5: ${name} failed: ${result.tool_return}`);
    return;
  }
  if (!call.name.startsWith("outside_")) return;
  const amount = Number((JSON.parse(call.arguments) as { amount: unknown }).amount);
  const ids = [...(cluster.effectIds.get(amount) ?? [])];
  if (ids.length > 1) world.violation(`J4: ${name} left under ${ids.length} effect ids: ${ids.join(", ")}`);
  if (result === undefined) return;
  const tool = call.name === "outside_approved" || call.name === checkedTool ? "outside_once" : call.name;
  const record = world.outside.records.get(`${tool} ${ids[0]}`);
  const [calls, effects] = [record?.calls ?? 0, record?.effects ?? 0];
  const ledger = state.effects.get(call.tool_call_id)?.state;
  const wrong = (why: string): void =>
    world.violation(
      `J4: ${name} has the result ${JSON.stringify(result.tool_return)}: ${why} (${calls} calls, ${effects} effects, ${ledger})`,
    );
  if (effects > 1) wrong("it took effect twice");
  if (result.status === "success") {
    if (tool === "outside_readOnly" ? calls === 0 : effects !== 1) wrong("it did not take effect");
    if (ledger !== "succeeded") wrong("the ledger says something else");
  } else if (isUnknown(result)) {
    if (ledger !== "unknown" && state.effects.get(call.tool_call_id)?.settled === undefined) wrong("the ledger does not call it unknown");
  } else if (wasNotMade(result) || result.tool_return.includes("amount")) {
    // One that may be repeated may have left before a crash, and be over a limit when it is made again.
    if (ids.length > 0 && tool !== "outside_readOnly") wrong("it left");
  } else if (result.tool_return === "The simulated world said no") {
    if (tool === "outside_once" && effects > 0) wrong("it took effect");
    if (ledger !== "failed") wrong("the ledger does not call it failed");
  } else wrong("nobody expects that");
}

function wasNotMade({ tool_return }: ToolReturn): boolean {
  if (tool_return === "The run was ended before this call was made" || tool_return.startsWith("Error: request to call tool denied"))
    return true;
  return /was not called:|may not be called with these arguments/.test(tool_return);
}

function isUnknown({ tool_return }: ToolReturn): boolean {
  return tool_return.includes("may or may not have taken effect") || tool_return.includes("whether it took effect is unknown");
}

/** What a call remembers, as a line of a block or the text of a passage. */
function factOf(call: PlannedCall | ToolCall): string | undefined {
  if (call.name !== "memory_insert" && call.name !== "archival_memory_insert") return undefined;
  const input = typeof call.arguments === "string" ? (JSON.parse(call.arguments) as { [name: string]: unknown }) : call.arguments;
  return String(input["new_string"] ?? input["content"]);
}
