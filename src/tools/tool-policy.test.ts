import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { actionFor, limitFor, matches, mayAsk, type PolicyRule } from "./tool-policy.ts";

const rules: readonly PolicyRule[] = [
  { tool: "shell", arguments: { "/command": "ls*" }, action: "allow" },
  { tool: "shell", arguments: { "/command": "*rm -rf*" }, action: "deny" },
  { tool: "shell", action: "ask" },
  { tool: "files__*", arguments: { "/path": "/srv/*", "/options/force": "true" }, action: "deny" },
  { tool: "files__*", arguments: { "/lines/0": "first", "/a~1b~0": "x" }, action: "ask" },
];

for (const [tool, input, action] of [
  ["shell", { command: "ls -l" }, "allow"],
  ["shell", { command: "ls; rm -rf /" }, "allow"],
  ["shell", { command: "sudo rm -rf /" }, "deny"],
  ["shell", { command: "make" }, "ask"],
  ["shell", {}, "ask"],
  ["files__write", { path: "/srv/a", options: { force: true } }, "deny"],
  ["files__write", { path: "/srv/a", options: { force: "true" } }, "deny"],
  ["files__write", { path: "/srv/a", options: { force: false } }, "allow"],
  ["files__write", { path: "/srv/a" }, "allow"],
  ["files__write", { path: "/srv/a", options: null }, "allow"],
  ["files__read", { lines: ["first"], "a/b~": "x" }, "ask"],
  ["files__read", { lines: ["second"], "a/b~": "x" }, "allow"],
  ["files", { path: "/srv/a", options: { force: true } }, "allow"],
] as const)
  test(`${tool} ${JSON.stringify(input)}: ${action}`, () => assert.equal(actionFor([rules], tool, input), action));

test("Of several lists the strictest counts", () => {
  const allow = [{ tool: "*", action: "allow" }] as const;
  const deny = [{ tool: "t", action: "deny" }] as const;
  const ask = [{ tool: "t", action: "ask" }] as const;
  assert.equal(actionFor([allow, ask], "t", {}), "ask");
  assert.equal(actionFor([deny, allow, ask], "t", {}), "deny");
  assert.equal(actionFor([[], []], "t", {}), "allow");
});

test("Whether a tool may have to be asked for does not depend on arguments", () => {
  assert.equal(mayAsk([rules], "shell"), true);
  assert.equal(mayAsk([rules], "files__x"), true);
  assert.equal(mayAsk([rules], "other"), false);
});

test("A name of the prototype is no argument", () => {
  assert.equal(actionFor([[{ tool: "*", arguments: { "/constructor": "*" }, action: "deny" }]], "t", {}), "allow");
});

test("A pattern fits what a regular expression of it fits", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "*", "."), maxLength: 8 });
  fc.assert(
    fc.property(letters, letters, (pattern, text) => {
      const expected = new RegExp(`^${pattern.split("*").map(RegExp.escape).join("[^]*")}$`).test(text);
      assert.equal(matches(pattern, text), expected);
    }),
    { numRuns: 2_000 },
  );
});

test("The first limit that fits a tool counts", () => {
  const limits = [
    { tool: "a*", calls: 1, seconds: 1 },
    { tool: "*", concurrency: 2 },
  ];
  assert.equal(limitFor(limits, "ab"), limits[0]);
  assert.equal(limitFor(limits, "b"), limits[1]);
  assert.equal(limitFor([], "b"), undefined);
});
