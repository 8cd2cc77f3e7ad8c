/** Shows the messages of a run to a person as they come: text token by token, tool calls and memory edits as lines. */
import type { ApiMessage } from "./api-client.ts";
import { printable, type Terminal } from "./terminal.ts";
import { shorten } from "./text.ts";

interface Call {
  name: string;
  arguments: string;
}

const lineLength = 100;

export class RunView {
  readonly #terminal: Terminal;
  /** What the cursor is behind: text goes on in its line, everything else begins a new one. */
  #open: "nothing" | "assistant" | "reasoning" = "nothing";
  readonly #calls = new Map<string, Call>();
  readonly #shownCalls = new Set<string>();
  #stopReason: string | undefined;
  #error: string | undefined;
  /** Calls that wait for a person's approval, in order. */
  readonly pendingApprovals: string[] = [];
  #approvalRequestId: string | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Why the run ended; `undefined` while it has not. */
  get stopReason(): string | undefined {
    return this.#stopReason;
  }

  /** The message that asks for the approvals. */
  get approvalRequestId(): string | undefined {
    return this.#approvalRequestId;
  }

  get failed(): boolean {
    return this.#error !== undefined || !["end_turn", "tool_rule", "requires_approval", "cancelled"].includes(this.#stopReason ?? "error");
  }

  show(message: ApiMessage): void {
    switch (message.message_type) {
      case "assistant_message":
        return this.#text("assistant", textOf(message.content));
      case "reasoning_message":
        return this.#text("reasoning", textOf(message.reasoning));
      case "tool_call_message":
        return this.#gatherCalls(message);
      case "approval_request_message":
        this.#gatherCalls(message);
        this.#approvalRequestId = message.id;
        for (const call of callsOf(message))
          if (call.tool_call_id !== undefined && !this.pendingApprovals.includes(call.tool_call_id))
            this.pendingApprovals.push(call.tool_call_id);
        return;
      case "tool_return_message":
        return this.#toolReturns(message);
      case "summary_message":
        return this.#line("dim", "⋯ older messages were summarised to make room");
      case "error_message":
        this.#error = [message.message, message.detail].filter((part) => typeof part === "string" && part !== "").join(": ");
        return this.#line("red", `✖ ${this.#error}`);
      case "stop_reason":
        this.#stopReason = String(message.stop_reason);
        return this.#stopped();
      default:
      // Usage and messages of later versions: nothing that a person waits for.
    }
  }

  notice(text: string): void {
    this.#line("yellow", text);
  }

  end(): void {
    this.#closeLine();
  }

  /** With all of its arguments: whoever approves a call has to see them. */
  describeCall(id: string): string {
    const call = this.#calls.get(id);
    return call === undefined ? id : `${printable(call.name)}(${printable(call.arguments)})`;
  }

  #text(kind: "assistant" | "reasoning", text: string): void {
    if (text === "") return;
    if (this.#open !== kind) this.#closeLine();
    this.#open = kind;
    const clean = printable(text);
    this.#terminal.write(kind === "reasoning" ? this.#terminal.style("dim", clean) : clean);
  }

  /** Arguments come in pieces; the call is shown when its result is there, or a person has to look at it. */
  #gatherCalls(message: ApiMessage): void {
    for (const piece of callsOf(message)) {
      const id = piece.tool_call_id ?? [...this.#calls.keys()].at(-1) ?? "";
      const call = this.#calls.get(id) ?? { name: "", arguments: "" };
      this.#calls.set(id, { name: call.name === "" ? (piece.name ?? "") : call.name, arguments: call.arguments + (piece.arguments ?? "") });
    }
  }

  #toolReturns(message: ApiMessage): void {
    const returns = Array.isArray(message.tool_returns) && message.tool_returns.length > 0 ? message.tool_returns : [message];
    for (const value of returns as readonly ApiMessage[]) {
      const id = String(value.tool_call_id);
      if (this.#shownCalls.has(id)) continue;
      this.#shownCalls.add(id);
      const call = this.#calls.get(id) ?? { name: typeof message.name === "string" ? message.name : "tool", arguments: "" };
      const result = textOf(value.tool_return);
      if (value.status === "error") {
        this.#line("red", `⚙ ${callText(call)} failed: ${shorten(printable(result), lineLength)}`);
        continue;
      }
      const edit = memoryEdit(call);
      if (edit === undefined) {
        this.#line("cyan", `⚙ ${callText(call)} → ${shorten(printable(result), lineLength)}`);
        continue;
      }
      this.#line("green", `✎ memory block ${edit.label}`);
      for (const line of edit.removed) this.#line("red", `  - ${line}`);
      for (const line of edit.added) this.#line("green", `  + ${line}`);
    }
  }

  #stopped(): void {
    const reason = this.#stopReason ?? "";
    this.#closeLine();
    if (reason === "cancelled") this.#line("yellow", "(cancelled)");
    else if (this.failed && this.#error === undefined) this.#line("yellow", `(stopped: ${reason.replaceAll("_", " ")})`);
  }

  #line(style: "dim" | "red" | "green" | "yellow" | "cyan", text: string): void {
    this.#closeLine();
    this.#terminal.line(this.#terminal.style(style, text));
  }

  #closeLine(): void {
    if (this.#open !== "nothing") this.#terminal.line();
    this.#open = "nothing";
  }
}

interface CallPiece {
  readonly tool_call_id?: string;
  readonly name?: string;
  readonly arguments?: string;
}

function callsOf(message: ApiMessage): readonly CallPiece[] {
  const calls = message.tool_calls ?? message.tool_call ?? [];
  return (Array.isArray(calls) ? calls : [calls]) as readonly CallPiece[];
}

function callText(call: Call): string {
  return `${printable(call.name)}(${shorten(printable(call.arguments), lineLength)})`;
}

/** The text of content that is a text, or a list of parts. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return (content as readonly { readonly text?: unknown }[]).map((part) => (typeof part.text === "string" ? part.text : "")).join("");
}

interface MemoryEdit {
  readonly label: string;
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

/** What a call of a memory tool changed, from its arguments; `undefined` for other tools. */
export function memoryEdit(call: { readonly name: string; readonly arguments: string }): MemoryEdit | undefined {
  const input = parseObject(call.arguments);
  const text = (name: string): string => (typeof input[name] === "string" ? input[name] : "");
  const edit = (label: string, removed: string, added: string): MemoryEdit => ({
    label: printable(label),
    removed: lines(removed),
    added: lines(added),
  });
  switch (call.name) {
    case "core_memory_append":
      return edit(text("label"), "", text("content"));
    case "core_memory_replace":
      return edit(text("label"), text("old_content"), text("new_content"));
    case "memory_insert":
      return edit(text("label"), "", text("new_string"));
    case "memory_replace":
      return edit(text("label"), text("old_string"), text("new_string"));
    case "memory_rethink":
      return edit(text("label"), "", text("new_memory"));
    case "rethink_memory":
      return edit(text("target_block_label"), "", text("new_memory"));
    case "memory_apply_patch":
      return edit(text("label"), "", text("patch"));
    case "memory": {
      const place = text("path") === "" ? text("old_path") : text("path");
      const label = place.replace(/^\/memories\//, "").replace(/^\//, "");
      const target = text("new_path");
      return edit(
        target === "" ? label : `${label} → ${target}`,
        text("old_string"),
        text("file_text") || text("new_string") || text("insert_text") || (text("command") === "delete" ? "(deleted)" : ""),
      );
    }
    default:
      return undefined;
  }
}

function lines(text: string): string[] {
  return text === "" ? [] : text.split("\n").map(printable);
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    // A model may write arguments that are not JSON; the tool has refused them.
    return {};
  }
}
