/**
 * What clients ask of agents, what the model does with it, and what a conversation may therefore look like.
 *
 * T1. The text of a request names its plan, so a model's answer is a function of the conversation alone.
 * T2. Every answer says which step of which task it is, also in a summary, so a context that was cut still tells.
 * T3. Every outside call has an `amount` of its own among all calls of a run, by which the world knows it again.
 */
import type { Json } from "../../src/base/json.ts";
import type { ModelMessage, ModelRequest } from "../../src/models/model.ts";
import { hashText } from "../random.ts";
import type { ScriptedAnswer, ScriptedPart } from "../scripted-model.ts";

export interface Task {
  /** `client.operation`. */
  readonly id: string;
  readonly plan: Plan;
}

const planNames = ["talk", "own", "shared", "archive", "once", "idempotent", "read", "parallel", "chain", "long", "garbage"] as const;
/** Plans that stop and wait for somebody outside. */
const waitingPlanNames = ["client", "approval", "mixed"] as const;

/** A tool that says after a crash what became of a call: it is in no plan of the others. */
export const checkedTool = "outside_checked";

export type Plan = (typeof planNames)[number] | (typeof waitingPlanNames)[number] | "checked";
export const plans: readonly Plan[] = [...planNames, ...waitingPlanNames];

export interface PlannedCall {
  readonly name: string;
  readonly arguments: { readonly [name: string]: Json };
}

/** A tool that the client executes, and one whose calls a person has to approve. */
export const clientTool = "client_lookup";
export const approvedTool = "outside_approved";
export const waitingTools: readonly string[] = [clientTool, approvedTool];
export const toolNames: readonly string[] = [
  "memory_insert",
  "archival_memory_insert",
  "outside_readOnly",
  "outside_idempotent",
  "outside_once",
  approvedTool,
];
export const summaryRequest = "Now write the summary.";

/** The calls of each step before the last one, which is text. */
export function stepsOf({ id, plan }: Task): readonly (readonly PlannedCall[])[] {
  const [client = 0, operation = 0] = id.split(".").map(Number);
  const at = (step: number, index: number): number => ((client * 100 + operation) * 10 + step) * 10 + index;
  const outside = (kind: string, step: number, index: number): PlannedCall => ({
    name: `outside_${kind}`,
    arguments: { amount: at(step, index) },
  });
  const remember = (label: string, step: number, index: number): PlannedCall => ({
    name: "memory_insert",
    arguments: { label, new_string: `fact ${at(step, index)}`, insert_line: -1 },
  });
  const archive = (step: number, index: number): PlannedCall => ({
    name: "archival_memory_insert",
    arguments: { content: `fact ${at(step, index)}` },
  });
  const look = (step: number, index: number): PlannedCall => ({ name: clientTool, arguments: { amount: at(step, index) } });
  switch (plan) {
    case "talk":
      return [];
    case "own":
    case "shared":
      return [[remember(plan, 0, 0)], [remember(plan, 1, 0)]];
    case "archive":
      return [[archive(0, 0)]];
    case "once":
    case "idempotent":
      return [[outside(plan, 0, 0)]];
    case "read":
      return [[outside("readOnly", 0, 0), outside("readOnly", 0, 1)]];
    case "parallel":
      return [[outside("once", 0, 0), outside("idempotent", 0, 1), remember("shared", 0, 2), outside("once", 0, 3)]];
    case "chain":
      return [[outside("once", 0, 0)], [remember("own", 1, 0)], [outside("idempotent", 2, 0), outside("once", 2, 1)]];
    case "checked":
      return [[outside("checked", 0, 0)], [outside("checked", 1, 0), outside("once", 1, 1)]];
    case "long":
      return Array.from({ length: 6 }, (_, step) => [outside("readOnly", step, 0)]);
    case "garbage":
      return [
        [
          { name: "no_such_tool", arguments: {} },
          { name: "outside_once", arguments: { amount: "much" } },
        ],
      ];
    case "client":
      return [[look(0, 0)]];
    case "approval":
      return [[outside("approved", 0, 0)], [outside("once", 1, 0)]];
    case "mixed":
      return [[outside("once", 0, 0), look(0, 1), remember("shared", 0, 2), outside("approved", 0, 3)]];
  }
}

export function taskText({ id, plan }: Task): string {
  return `task ${id} ${plan}`;
}

/** The parts of the answer of step `step`, counted from 0. After the last planned step comes one without calls. */
export function answerOf(task: Task, step: number): readonly ScriptedPart[] {
  const calls = stepsOf(task)[step] ?? [];
  const thinks = hashText(`${task.id}/${step}`, 0x811c9dc5) % 3 === 0;
  return [
    ...(thinks ? [{ type: "reasoning", text: `thinking about ${task.id}` } as const] : []),
    { type: "text", text: `Step ${step} of ${task.id}. Done.` },
    ...calls.map((call) => ({ type: "toolCall", ...call }) as const),
  ];
}

/** Every model of the simulated world. */
export function script(request: ModelRequest): ScriptedAnswer {
  const texts = request.messages.map(textOf);
  const isSummary = texts.at(-1) === summaryRequest;
  const asked = texts.findLast((text, at) => request.messages[at]!.role === "user" && taskPattern.test(text));
  const [, id, plan] = taskPattern.exec(asked ?? "") ?? [];
  if (id === undefined) return { parts: [{ type: "text", text: "There is no task." }] };
  const task: Task = { id, plan: plan as Plan };
  const step = texts.reduce((next, text) => Math.max(next, stepAfter(text, id)), 0);
  if (!isSummary) return { parts: answerOf(task, step) };
  return { parts: [{ type: "text", text: step === 0 ? taskText(task) : `${taskText(task)}. Step ${step - 1} of ${id}.` }] };
}

/** The last task that a text names: a summary may name several. */
const taskPattern = /task (\d+\.\d+) ([a-z]+)(?!.*task \d+\.\d+ [a-z]+)/s;

function stepAfter(text: string, id: string): number {
  return [...text.matchAll(/Step (\d+) of (\d+\.\d+)\./g)].reduce(
    (next, [, step, of]) => (of === id ? Math.max(next, Number(step) + 1) : next),
    0,
  );
}

function textOf(message: ModelMessage): string {
  if (message.role === "tool") return "";
  if (typeof message.content === "string") return message.content;
  return message.content.map((part) => (part.type === "text" ? part.text : "")).join("");
}
