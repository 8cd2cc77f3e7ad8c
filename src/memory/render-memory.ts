/** The part of the system prompt that shows an agent its memory, byte for byte as Letta V1 writes it. */
import type { BlockRecord } from "./block.ts";
import { characterCount } from "./memory.ts";
import { localTime } from "./local-time.ts";

/** Shown above the lines of a block; memory tools refuse a text that holds it. */
export const lineNumberWarning =
  "# NOTE: Line numbers shown below (with arrows like '1→') are to help during editing. Do NOT include line number prefixes in your memory edit tool calls.";

const rulesDescription =
  "The following constraints define rules for tool usage and guide desired behavior. These rules must be followed to ensure proper tool execution and workflow. A single response may contain multiple tool calls.";

export type RenderedBlock = Pick<BlockRecord, "label" | "value" | "limit" | "description" | "read_only">;

export interface MemoryView {
  /** In the order in which they were attached. */
  readonly blocks: readonly RenderedBlock[];
  /** `none` for agents that do not see their blocks. */
  readonly variant: "standard" | "lineNumbered" | "none";
  /** What `renderToolRules` gave. */
  readonly toolRules?: string | undefined;
  readonly agentId: string;
  readonly conversationId: string;
  /** Unix milliseconds. */
  readonly compiledAt: number;
  readonly timezone?: string | null | undefined;
  readonly previousMessages: number;
  readonly archivalPassages: number;
  readonly archivalTags?: readonly string[] | undefined;
}

/** How an agent of this type, on a model of this provider, sees its blocks. */
export function memoryVariant(agentType: string, providerType: string): MemoryView["variant"] {
  if (agentType === "react_agent" || agentType === "workflow_agent") return "none";
  const numbered = agentType === "sleeptime_agent" || agentType === "memgpt_v2_agent" || agentType === "letta_v1_agent";
  return providerType === "anthropic" && numbered ? "lineNumbered" : "standard";
}

/** The whole system message: the memory in the place of `{CORE_MEMORY}`, or after the prompt. */
export function renderSystemPrompt(system: string, view: MemoryView): string {
  const memory = renderMemory(view);
  if (!system.includes("{CORE_MEMORY}")) return `${system}\n\n${memory}`;
  // As a function, so that `$&` in a block stays what it is.
  return system.replaceAll("{CORE_MEMORY}", () => memory);
}

/** Blocks, tool rules and metadata. */
export function renderMemory(view: MemoryView): string {
  return `${renderBlocks(view.blocks, view.variant)}${renderRules(view.toolRules)}\n\n${renderMetadata(view)}`;
}

/** The blocks alone: Letta's `core_memory` text. */
export function renderBlocks(blocks: readonly RenderedBlock[], variant: MemoryView["variant"]): string {
  if (variant === "none" || blocks.length === 0) return "";
  const rendered = blocks.map((block) => renderBlock(block, variant === "lineNumbered"));
  return `<memory_blocks>\nThe following memory blocks are currently engaged in your core memory unit:\n\n${rendered.join("\n")}\n</memory_blocks>`;
}

function renderBlock(block: RenderedBlock, numbered: boolean): string {
  const lines = [
    `<${block.label}>`,
    "<description>",
    block.description ?? "",
    "</description>",
    "<metadata>",
    ...(block.read_only ? ["- read_only=true"] : []),
    `- chars_current=${characterCount(block.value)}`,
    `- chars_limit=${block.limit}`,
    "</metadata>",
    ...(numbered ? ["<warning>", lineNumberWarning, "</warning>"] : []),
    "<value>",
    ...renderValue(block.value, numbered),
    "</value>",
    `</${block.label}>`,
  ];
  return `${lines.join("\n")}\n`;
}

function renderValue(value: string, numbered: boolean): string[] {
  if (!numbered) return [value];
  return value === "" ? [] : value.split("\n").map((line, index) => `${index + 1}→ ${line}`);
}

function renderRules(rules: string | undefined): string {
  return rules === undefined ? "" : `\n\n<tool_usage_rules>\n${rulesDescription}\n\n${rules}\n</tool_usage_rules>`;
}

function renderMetadata(view: MemoryView): string {
  const lines = [
    "<memory_metadata>",
    `- AGENT_ID: ${view.agentId}`,
    `- CONVERSATION_ID: ${view.conversationId}`,
    `- System prompt last recompiled: ${localTime(view.compiledAt, view.timezone ?? "UTC")}`,
    `- ${view.previousMessages} previous messages between you and the user are stored in recall memory (use tools to access them)`,
  ];
  if (view.archivalPassages > 0)
    lines.push(`- ${view.archivalPassages} total memories you created are stored in archival memory (use tools to access them)`);
  if (view.archivalTags !== undefined && view.archivalTags.length > 0)
    lines.push(`- Available archival memory tags: ${view.archivalTags.join(", ")}`);
  return [...lines, "</memory_metadata>"].join("\n");
}
