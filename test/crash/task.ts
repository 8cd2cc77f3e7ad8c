/** What clients ask for, what the model does with it, and which histories it may leave. */

/** One request: its text names the plan, so the model's answers are a function of the conversation. */
export interface Task {
  readonly id: string;
  readonly plan: Plan;
}

export const plans = ["talk", "memory", "once", "idempotent", "read", "parallel", "chain", "diary"] as const;
/** Of tools behind an MCP server, and of code in a sandbox. */
export const outsidePlans = ["mcp", "post"] as const;
export type Plan = (typeof plans)[number] | (typeof outsidePlans)[number];

export interface PlannedCall {
  readonly name: string;
  readonly arguments: { readonly [name: string]: string | number };
}

/** The calls of each step before the last, which is text. */
export function stepsOf({ id, plan }: Task): readonly (readonly PlannedCall[])[] {
  const outside = (name: string, part: string): PlannedCall => ({ name, arguments: { task: `${id}/${part}` } });
  const remember: PlannedCall = { name: "memory_insert", arguments: { label: "facts", new_string: `fact ${id}`, insert_line: -1 } };
  switch (plan) {
    case "talk":
      return [];
    case "memory":
      return [[remember]];
    case "once":
      return [[outside("count_once", "a")]];
    case "idempotent":
      return [[outside("count_idempotent", "a")]];
    case "read":
      return [[outside("count_read", "a")]];
    case "parallel":
      return [[outside("count_once", "a"), outside("count_idempotent", "b"), remember, outside("count_once", "c")]];
    case "chain":
      return [[outside("count_once", "a")], [remember], [outside("count_once", "b")]];
    case "mcp":
      return [
        [outside("counting__once", "a"), outside("counting__idempotent", "b")],
        [outside("counting__once", "c"), outside("counting__checked", "d")],
      ];
    case "post":
      return [[outside("post_once", "a")], [outside("post_idempotent", "b")]];
    case "diary":
      return Array.from({ length: 6 }, () => [remember]);
  }
}

export function taskText(task: Task): string {
  return `task ${task.id} ${task.plan}`;
}

/** Long enough for a stream to be cut in it. */
export function answerText(task: Task): string {
  return `Task ${task.id} is done. ${"It was a pleasure to work on it, step by step. ".repeat(4)}End of ${task.id}.`;
}

export function parseTask(text: string): Task | undefined {
  const match = /^task (\S+) (\w+)$/.exec(text);
  const plan = [...plans, ...outsidePlans].find((each) => each === match?.[2]);
  return match === null || plan === undefined ? undefined : { id: match[1]!, plan };
}
