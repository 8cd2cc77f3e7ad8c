import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { jsonErrorPosition } from "./json-syntax.ts";

for (const [text, position] of [
  ["", 0],
  ["{", 1],
  ['{"a":}', 5],
  ['{"a":1,}', 7],
  ['{"a" 1}', 5],
  ["[1,2,]", 5],
  ["[1 2]", 3],
  ["nul", 0],
  ["01", 1],
  ["1.", 1],
  ["{]", 1],
  ["[}", 1],
  ["{'a':1}", 1],
  ['"abc', 4],
  ['"a\nb"', 2],
  ['"a\\x"', 2],
  ['"\\u12"', 1],
  ["{} {}", 3],
  ['{"a":{"b":[1,{"c":tru}]}}', 18],
] as const)
  test(`${JSON.stringify(text)} stops being JSON at ${position}`, () => {
    assert.throws(() => JSON.parse(text));
    assert.equal(jsonErrorPosition(text), position);
  });

test("What comes before the position can be the start of JSON, and JSON is accepted to its end", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.equal(jsonErrorPosition(text), text.length);
    }),
  );
});

test("JSON with one character replaced is never said to be wrong after the place where JSON.parse sees it", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 3 }), fc.nat(), fc.constantFrom("}", "]", ",", ":", '"', "x", "{", "\\"), (json, seed, character) => {
      const at = seed % json.length;
      const text = json.slice(0, at) + character + json.slice(at + 1);
      try {
        JSON.parse(text);
      } catch (error) {
        const told = /at position (\d+)/.exec((error as Error).message)?.[1];
        const position = jsonErrorPosition(text);
        assert.ok(position <= text.length);
        if (told !== undefined) assert.ok(Math.abs(position - Number(told)) <= 6, `${text}: ${position}, ${(error as Error).message}`);
      }
    }),
  );
});
