/**
 * `search_tools`: for an agent with so many tools that the model is shown only those that it looks for.
 *
 * What it found is in its result, which is a message of the conversation: whoever builds the next request reads it there.
 */
import { optionalInteger, optional, required, stateTool, textArgument } from "./state-tool.ts";
import type { StateTool } from "./tool.ts";
import type { ToolIndex } from "./tool-index.ts";

export const searchToolsName = "search_tools";

const foundDefault = 5;
const foundMax = 20;
/** Groups of tools that the description names. */
const groupsMax = 30;

/** `names` are those of the tools in the index; it is made when the first search needs it. */
export function toolSearch(names: readonly string[], index: () => ToolIndex): StateTool {
  return stateTool(
    {
      name: searchToolsName,
      description:
        `Finds tools by what they do. You have ${names.length} more tools than you see${groupsText(names)}; ` +
        "before you say that you cannot do something, search for a tool that can. Those that are found can be called in your next step.",
      parameters: {
        query: required({ type: "string", description: "What the tool should do, in a few words, or names of tools." }),
        limit: optional({ type: "integer", description: `How many tools at most, up to ${foundMax}. Defaults to ${foundDefault}.` }),
      },
    },
    async (input) => {
      const limit = optionalInteger(input, "limit", { least: 1, most: foundMax }) ?? foundDefault;
      const tools = index().search(textArgument(input, "query"), limit);
      const note = tools.length > 0 ? "These can be called now." : "No tool has one of these words: try others.";
      return JSON.stringify({ tools, note });
    },
  );
}

/** The names of the tools in a result of `search_tools`; none in what is no such result. */
export function namesFound(result: string): readonly string[] {
  try {
    const { tools } = JSON.parse(result) as { readonly tools: readonly { readonly name: string }[] };
    return tools.map(({ name }) => name);
  } catch {
    // An error's text, or a result that a policy has put in its place.
    return [];
  }
}

/** What stands before `__` in several names, as the tools of an MCP server have it: the model cannot guess what there is. */
function groupsText(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) {
    const end = name.indexOf("__");
    if (end > 0) counts.set(name.slice(0, end), (counts.get(name.slice(0, end)) ?? 0) + 1);
  }
  const groups = [...counts].filter(([, count]) => count > 1).slice(0, groupsMax);
  return groups.length === 0 ? "" : `, of ${groups.map(([group, count]) => `${group} (${count})`).join(", ")} and others`;
}
