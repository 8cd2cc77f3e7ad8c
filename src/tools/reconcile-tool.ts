/**
 * A tool that knows what became of calls of another one: `reconcile` in the other's `metadata_` is its name.
 *
 * It is called with `{"effect_id": …, "arguments": …}` of the call, and answers with JSON: `{"outcome": "succeeded", "result": …}`,
 * `{"outcome": "did_not_happen"}` or `{"outcome": "unknown"}`. What it does must have no effect.
 */
import type { OutsideTool, OutsideToolContext, Reconciled, Tool, ToolInput } from "./tool.ts";
import type { ToolRecord } from "./tool-record.ts";

/** The tool behind `record`, with what its owner has named. `find` gives the tool of the project with a name. */
export function withReconcileTool(record: ToolRecord, tool: Tool, find: (name: string) => Promise<Tool | undefined>): Tool {
  const name = record.metadata_["reconcile"];
  if (typeof name !== "string" || tool.effect === "state") return tool;
  const reconciled: OutsideTool = {
    ...tool,
    reconcile: async (input, context) => {
      const asked = await find(name);
      if (asked === undefined) throw new Error(`There is no tool ${name} that could say what became of a call of ${record.name}`);
      if (asked.effect !== "readOnly")
        throw new Error(`${name} cannot be asked what became of a call of ${record.name}: it does not say of itself that it only reads`);
      return await ask(asked, input, context);
    },
  };
  return reconciled;
}

async function ask(tool: OutsideTool, input: ToolInput, context: OutsideToolContext): Promise<Reconciled> {
  const { status, text } = await tool.execute({ effect_id: context.effectId, arguments: { ...input } as never }, context);
  if (status === "error") throw new Error(`${tool.name} failed: ${text}`);
  const { outcome, result } = (JSON.parse(text) ?? {}) as { readonly outcome?: unknown; readonly result?: unknown };
  switch (outcome) {
    case "succeeded":
      return {
        outcome: "succeeded",
        result: { status: "success", text: typeof result === "string" ? result : JSON.stringify(result ?? null) },
      };
    case "did_not_happen":
      return { outcome: "didNotHappen" };
    case "unknown":
      return { outcome: "unknown" };
    default:
      throw new Error(`${tool.name} says neither succeeded, did_not_happen nor unknown: ${text.slice(0, 200)}`);
  }
}
