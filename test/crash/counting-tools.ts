/** The tools of the server under test: each call of theirs is counted outside, by `World`. */
import type { OutsideTool } from "../../src/tools/tool.ts";

/** `pass` is called with the moments before and after each call. */
export function countingTools(url: string, pass: (moment: "before-tool" | "after-tool") => void = () => {}): readonly OutsideTool[] {
  const tool = (name: string, effect: OutsideTool["effect"]): OutsideTool => ({
    name,
    effect,
    description: `Counts a call (${effect})`,
    parameters: { type: "object", properties: { task: { type: "string" } }, required: ["task"] },
    async execute(input, { effectId, signal }) {
      pass("before-tool");
      const body = JSON.stringify({ tool: name, task: input["task"] });
      const response = await fetch(url, { method: "POST", headers: { "idempotency-key": effectId }, body, signal });
      const text = await response.text();
      pass("after-tool");
      return { status: "success", text };
    },
  });
  return [tool("count_once", "once"), tool("count_idempotent", "idempotent"), tool("count_read", "readOnly")];
}
