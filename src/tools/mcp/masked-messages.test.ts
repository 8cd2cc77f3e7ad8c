import assert from "node:assert/strict";
import { test } from "node:test";
import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client";
import { SecretMask, secretMask } from "../../base/secret-mask.ts";
import { maskMessages } from "./masked-messages.ts";

const secret = "env_7Hd2kP9sYw4LqZ8xV1bN3tG5aC0e";

/** A transport with the secrets masked: what a server sends, and what is read of it. */
function setUp(secrets: readonly string[]): { readonly transport: Transport; readonly read: JSONRPCMessage[]; readonly errors: Error[] } {
  const [read, errors] = [new Array<JSONRPCMessage>(), new Array<Error>()];
  const transport: Transport = { start: async () => {}, send: async () => {}, close: async () => {} };
  maskMessages(transport, () => new SecretMask(secrets));
  Object.assign(transport, {
    onerror: (error: Error) => void errors.push(error),
    onmessage: (message: JSONRPCMessage) => void read.push(message),
  });
  return { transport, read, errors };
}

test("Whatever a server sends is masked: results, errors, notifications and what it asks", () => {
  const { transport, read } = setUp([secret]);
  const message = (text: string): JSONRPCMessage[] => [
    { jsonrpc: "2.0", id: 1, result: { content: [{ type: "text", text }], structuredContent: { [text]: [text] } } },
    { jsonrpc: "2.0", id: 2, error: { code: -32000, message: text, data: { text } } },
    { jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data: text } },
    { jsonrpc: "2.0", id: "3", method: "elicitation/create", params: { message: text } },
  ];
  for (const each of message(secret)) transport.onmessage!(each);
  assert.deepEqual(read, message(secretMask));
});

test("Who listens may hand on to who listened before, or be nobody", () => {
  const { transport, read } = setUp([secret]);
  const first = transport.onmessage!;
  const later: JSONRPCMessage[] = [];
  const handOn = (message: JSONRPCMessage): void => {
    first(message);
    later.push(message);
  };
  Object.assign(transport, { onmessage: handOn });
  transport.onmessage!({ jsonrpc: "2.0", method: secret });
  for (const each of [read, later]) assert.deepEqual(each, [{ jsonrpc: "2.0", method: secretMask }]);
  Object.assign(transport, { onmessage: undefined });
  assert.equal(transport.onmessage, undefined);
});

test("A message that nests without end is an error of the connection, not of the process", () => {
  const { transport, read, errors } = setUp([secret]);
  const params = JSON.parse(`${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`) as { readonly a: object };
  transport.onmessage!({ jsonrpc: "2.0", method: "deep", params });
  assert.equal(read.length, 0);
  assert.equal(errors[0]?.name, "RangeError");
});
