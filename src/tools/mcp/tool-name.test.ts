import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mcpToolName } from "./tool-name.ts";

test("A tool's name says its server, and is kept where it can be", () => {
  assert.equal(mcpToolName("files", "read_file"), "files__read_file");
});

test("Names that had to change stay apart", () => {
  const names = [
    mcpToolName("a", "x y"),
    mcpToolName("a", "x.y"),
    mcpToolName("a", "x_y"),
    mcpToolName("a", "z".repeat(100)),
    mcpToolName("a", "z".repeat(101)),
  ];
  assert.equal(new Set(names).size, names.length);
});

test("Every name is one that providers of models take", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (server, tool) => {
      assert.match(mcpToolName(server, tool), /^[a-zA-Z0-9_-]{1,64}$/);
    }),
  );
});
