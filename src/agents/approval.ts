/**
 * A person's consent to one call.
 *
 * A1. It is bound to a hash of the exact arguments and of what the tool was when it was asked for: where either is another
 *     one, it is refused, when it is given and again when the call leaves.
 * A2. It is used once: the turn that takes it ends the wait for it, and it goes with one call under one effect id.
 * A3. It ends: after its time only a denial is taken.
 * A4. A request for approval has a row that lists find, for exactly as long as it waits.
 */
import { createHash } from "node:crypto";
import type { ToolRecord } from "../tools/tool-record.ts";
import type { ToolCall } from "./chat-message.ts";

export interface Approval {
  readonly hash: string;
  readonly approved_at: string;
}

/** What a tool is, for whoever consents to a call of it: what it says of itself, its code, and what it may reach. */
export function toolIdentity(record: ToolRecord): string {
  const { id, tool_type, source_type, source_code, json_schema, pip_requirements, npm_requirements, metadata_ } = record;
  return sha256([id, tool_type, source_type, source_code, json_schema, pip_requirements, npm_requirements, metadata_]);
}

export function approvalHash(identity: string, { name, arguments: text }: ToolCall): string {
  return sha256([identity, name, text]);
}

/** What a person has seen of a request, all of its calls that are to be decided. */
export function requestHash(calls: readonly { readonly call: ToolCall; readonly hash?: string }[]): string {
  return sha256(calls.flatMap(({ call, hash }) => (hash === undefined ? [] : [[call.tool_call_id, hash]])));
}

function sha256(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
