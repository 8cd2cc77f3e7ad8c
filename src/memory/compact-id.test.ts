import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeTuple, encodeTuple } from "../base/tuple.ts";
import { compactId, expandId } from "./compact-id.ts";

test("An id comes back from its compact form, in half the bytes where it is one of ours", () => {
  const prefixed = fc
    .tuple(fc.constantFrom("message", "passage", "mcp_server"), fc.uuid({ version: 4 }))
    .map(([prefix, uuid]) => `${prefix}-${uuid}`);
  fc.assert(
    fc.property(fc.oneof(prefixed, fc.uuid(), fc.string()), (id) => {
      fc.pre(id.isWellFormed());
      assert.equal(expandId(decodeTuple(encodeTuple([compactId(id)]))[0]!), id);
    }),
  );
  const id = "message-6f1c0001-1234-4000-8000-00000000abcd";
  assert.ok(encodeTuple([compactId(id)]).length < 36);
});

for (const id of ["message-6F1C0001-1234-4000-8000-00000000abcd", "message-6f1c0001-1234-1000-8000-00000000abcd", "default", ""])
  test(`${JSON.stringify(id)} stays a text`, () => assert.equal(compactId(id), id));
