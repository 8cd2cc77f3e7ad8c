/** How the demo model reads its core memory in the system prompt, and which of the offered tools can change it. */
import type { ModelMessage, ToolDefinition } from "./model.ts";
import { asArray, asObject, asText, parseJson, type WireObject } from "./wire-json.ts";

export interface RenderedBlock {
  readonly label: string;
  readonly isReadOnly: boolean;
  readonly value: string;
}

export interface PlannedCall {
  readonly name: string;
  readonly input: WireObject;
}

/** The blocks as `memory/render-memory.ts` writes them, with or without line numbers. Reads each line once. */
export function readBlocks(messages: readonly ModelMessage[]): readonly RenderedBlock[] {
  const lines = messages.flatMap((message) => (message.role === "system" ? message.content.split("\n") : []));
  const blocks: RenderedBlock[] = [];
  let at = lines.indexOf("<memory_blocks>");
  const end = lines.lastIndexOf("</memory_blocks>");
  while (at >= 0 && at < end) {
    const label = /^<([^<>/][^<>]*)>$/.exec(lines[at]!)?.[1];
    if (label === undefined || lines[at + 1] !== "<description>") {
      at++;
      continue;
    }
    const metadata = lines.indexOf("<metadata>", at);
    const value = lines.indexOf("<value>", metadata);
    let close = lines.indexOf(`</${label}>`, value);
    // A value may hold the closing line of its own block: the true one follows the end of the value.
    while (close >= 0 && lines[close - 1] !== "</value>") close = lines.indexOf(`</${label}>`, close + 1);
    if (metadata < 0 || value < 0 || close < 0) break;
    const isNumbered = lines[value - 1] === "</warning>";
    const text = lines.slice(value + 1, close - 1).map((line) => (isNumbered ? line.replace(/^\d+→ /, "") : line));
    blocks.push({ label, isReadOnly: lines.slice(metadata, value).includes("- read_only=true"), value: text.join("\n") });
    at = close + 1;
  }
  return blocks;
}

/** The block that says who the user is: `human`, or else one that can be written and does not say who the agent is. */
export function userBlock(blocks: readonly RenderedBlock[]): RenderedBlock | undefined {
  return blocks.find(({ label }) => label === "human") ?? blocks.find(({ label, isReadOnly }) => !isReadOnly && label !== "persona");
}

/**
 * What is known of the user: the lines of the block, then what this conversation wrote since, as the system prompt
 * is not rendered again on every edit.
 */
export function knownLines(messages: readonly ModelMessage[]): readonly string[] {
  const lines = new Set(lineList(userBlock(readBlocks(messages))?.value ?? ""));
  const failed = new Set(messages.flatMap((message) => (message.role === "tool" && message.isError ? [message.toolCallId] : [])));
  for (const message of messages) {
    if (message.role !== "assistant") continue;
    for (const part of message.content) {
      if (part.type !== "toolCall" || failed.has(part.id)) continue;
      const input = asObject(parseJson(part.argumentsText)) ?? {};
      const removed = asText(input["old_string"]) ?? asText(input["old_content"]);
      const added = writtenText(part.name, input);
      if (added === undefined) continue;
      if (removed !== undefined) for (const line of lineList(removed)) lines.delete(line);
      for (const line of lineList(added)) lines.add(line);
    }
  }
  return [...lines];
}

function lineList(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

const editTools: readonly string[] = [
  "memory_insert",
  "core_memory_append",
  "memory",
  "memory_replace",
  "core_memory_replace",
  "memory_rethink",
];

export function isMemoryEdit(toolName: string): boolean {
  return editTools.includes(toolName);
}

function writtenText(toolName: string, input: WireObject): string | undefined {
  if (!isMemoryEdit(toolName)) return undefined;
  return ["new_string", "new_content", "content", "insert_text", "new_memory"]
    .map((name) => asText(input[name]))
    .find((text) => text !== undefined);
}

/**
 * The call that writes `line` to `block`, in the place of the line `old` where there is one, by whichever tool is
 * offered; `undefined` where none is.
 */
export function planEdit(
  tools: readonly ToolDefinition[],
  block: RenderedBlock,
  line: string,
  old: string | undefined,
): PlannedCall | undefined {
  const { label, value } = block;
  const path = `/memories/${label}`;
  const last = lineList(value).at(-1);
  // An exact replacement needs a text that is there once.
  const replaced = [old, last].find((text) => text !== undefined && value.split(text).length === 2);
  const replacement = replaced !== undefined && replaced !== old ? `${replaced}\n${line}` : line;
  const canReplace = replaced !== undefined;
  const replace: PlannedCall[] = [
    { name: "memory_replace", input: { label, old_string: replaced, new_string: replacement } },
    { name: "core_memory_replace", input: { label, old_content: replaced, new_content: replacement } },
    { name: "memory", input: { command: "str_replace", path, old_string: replaced, new_string: replacement } },
  ];
  const insert: PlannedCall[] = [
    { name: "memory_insert", input: { label, new_string: line, insert_line: -1 } },
    { name: "core_memory_append", input: { label, content: line } },
    { name: "memory", input: { command: "insert", path, insert_line: -1, insert_text: line } },
  ];
  const whole = value === "" ? line : `${value}\n${line}`;
  const rethink: PlannedCall[] = [
    { name: "memory_rethink", input: { label, new_memory: whole } },
    { name: "rethink_memory", input: { target_block_label: label, new_memory: whole } },
  ];
  const plans =
    replaced !== undefined && replaced === old
      ? [...replace, ...insert, ...rethink]
      : [...insert, ...(canReplace ? replace : []), ...rethink];
  for (const plan of plans) {
    const tool = tools.find(({ name }) => name === plan.name);
    if (tool !== undefined) return { name: plan.name, input: fillRequired(tool, plan.input) };
  }
  return undefined;
}

/** Adds what a tool's schema insists on besides: legacy agents ask for a heartbeat, others for a reason. */
export function fillRequired(tool: ToolDefinition, input: WireObject): WireObject {
  const schema = asObject(tool.parameters) ?? {};
  const properties = asObject(schema["properties"]) ?? {};
  const filled: Record<string, unknown> = { ...input };
  for (const name of asArray(schema["required"])) {
    if (typeof name !== "string" || name in filled) continue;
    const type = asObject(properties[name])?.["type"];
    if (type === "boolean") filled[name] = name === "request_heartbeat";
    else if (type === "string") filled[name] = "The user asked for it";
  }
  return filled;
}
