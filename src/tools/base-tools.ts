/** The tools that every project has, with the type that Letta gives each. */
import type { Json } from "../base/json.ts";
import { sendMessageToAgentAsync } from "./agent-message-tools.ts";
import {
  coreMemoryAppend,
  coreMemoryReplace,
  memory,
  memoryApplyPatch,
  memoryFinishEdits,
  memoryInsert,
  memoryReplace,
  memoryRethink,
  rethinkMemory,
} from "./block-tools.ts";
import { archivalMemoryInsert, archivalMemorySearch, conversationSearch, sendMessage } from "./search-tools.ts";
import { objectSchema, optional, required } from "./state-tool.ts";
import type { OutsideTool, Tool } from "./tool.ts";
import { openSkillDescription, openSkillName, openSkillParameters } from "./skills/open-skill.ts";
import type { ToolType } from "./tool-record.ts";
import { fetchWebpageDescription, fetchWebpageName, fetchWebpageParameters } from "./web/fetch-webpage.ts";
import { deleteFile, editFile, writeFile } from "./workspace/file-tools.ts";
import { readings } from "./workspace/reading-tools.ts";
import { runCommandDescription, runCommandName, runCommandParameters } from "./workspace/run-command.ts";

export interface BaseTool {
  readonly tool: Tool;
  readonly type: ToolType;
  /** Calling it only says that it is not there; it is listed because clients name it when they make agents. */
  readonly isMissing: boolean;
}

/** In the order in which they are listed to a model. */
export const baseTools: readonly BaseTool[] = [
  present(sendMessage, "letta_core"),
  present(conversationSearch, "letta_core"),
  present(archivalMemoryInsert, "letta_core"),
  present(archivalMemorySearch, "letta_core"),
  present(coreMemoryAppend, "letta_memory_core"),
  present(coreMemoryReplace, "letta_memory_core"),
  present(memory, "letta_memory_core"),
  present(memoryApplyPatch, "letta_memory_core"),
  present(memoryInsert, "letta_sleeptime_core"),
  present(memoryReplace, "letta_sleeptime_core"),
  present(memoryRethink, "letta_sleeptime_core"),
  present(rethinkMemory, "letta_sleeptime_core"),
  present(memoryFinishEdits, "letta_sleeptime_core"),
  present(sendMessageToAgentAsync, "letta_multi_agent_core"),
  missing("run_code", "Runs a piece of code and gives what it prints.", "It runs in a sandbox, and this process has none.", {
    code: required({ type: "string", description: "The code to run." }),
    language: required({ type: "string", enum: ["python", "js", "ts", "r", "java"], description: "The language that the code is in." }),
  }),
  missing(
    "run_code_with_tools",
    [
      "Runs a piece of code that can call your other tools, and gives what it prints: for many calls, loops, and results that need not be read whole.",
      "In Python: tools.NAME(argument=value) gives the text of the result and raises ToolError if the call fails.",
      'In js and ts: await tools.NAME({ argument: value }). Where a name is no identifier: tools["NAME"].',
      "Tools that a person must approve cannot be called by code.",
    ].join(" "),
    "It runs in a sandbox, and this process has none.",
    {
      code: required({ type: "string", description: "The code to run. Print what you need to see." }),
      language: optional({
        type: "string",
        enum: ["python", "js", "ts"],
        description: "The language that the code is in. Defaults to python.",
        default: "python",
      }),
    },
  ),
  missing("web_search", "Searches the web and gives the pages found.", "It needs a search provider, which this version does not have.", {
    query: required({ type: "string", description: "What to search for." }),
    num_results: optional({ type: "integer", description: "How many pages at most, from 1 to 100. Defaults to 10.", default: 10 }),
  }),
  missing(fetchWebpageName, fetchWebpageDescription, "It reaches the web, and this process does not.", fetchWebpageParameters),
  present(writeFile, "letta_builtin"),
  present(editFile, "letta_builtin"),
  present(deleteFile, "letta_builtin"),
  ...readings.map(({ name, description, parameters }) => missing(name, description, "This process has no store for it.", parameters)),
  missing(runCommandName, runCommandDescription, "It runs in a sandbox, and this process has none.", runCommandParameters),
  missing(openSkillName, openSkillDescription, "This process has no store for it.", openSkillParameters),
];

/** Names of the base tools that an agent of this type gets with `include_base_tools`. */
export function baseToolNames(agentType: string): readonly string[] {
  return baseToolsOfType[agentType] ?? baseToolsOfType["letta_v1_agent"]!;
}

/** Names of the tools that an agent gets with `include_multi_agent_tools`. */
export const multiAgentToolNames: readonly string[] = [sendMessageToAgentAsync.name];

const baseToolsOfType: { readonly [agentType: string]: readonly string[] } = {
  letta_v1_agent: ["conversation_search", "memory_insert", "memory_replace"],
  memgpt_v2_agent: ["send_message", "conversation_search", "memory_insert", "memory_replace"],
  memgpt_agent: ["send_message", "conversation_search", "core_memory_append", "core_memory_replace", "memory", "memory_apply_patch"],
  split_thread_agent: ["send_message", "conversation_search", "core_memory_append", "core_memory_replace", "memory", "memory_apply_patch"],
  sleeptime_agent: ["memory_replace", "memory_insert", "memory_rethink", "memory_finish_edits"],
  voice_convo_agent: ["send_message", "conversation_search"],
  voice_sleeptime_agent: ["rethink_memory", "memory_finish_edits"],
  react_agent: [],
  workflow_agent: [],
};

/** A tool that is known but cannot be called here: its result says why. */
export function unavailableTool(name: string, description: string, parameters: Json, reason: string): OutsideTool {
  return {
    name,
    description,
    parameters,
    effect: "readOnly",
    execute: async () => ({ status: "error", text: `The tool ${name} cannot be called. ${reason}` }),
  };
}

function present(tool: Tool, type: ToolType): BaseTool {
  return { tool, type, isMissing: false };
}

function missing(name: string, description: string, reason: string, parameters: Parameters<typeof objectSchema>[0]): BaseTool {
  return { tool: unavailableTool(name, description, objectSchema(parameters), reason), type: "letta_builtin", isMissing: true };
}
