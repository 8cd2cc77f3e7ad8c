import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeJson, encodeJson } from "./json.ts";

test("a value comes back as it was, lone surrogates and NULs too", () => {
  const value = fc.oneof(fc.jsonValue(), fc.string({ unit: fc.constantFrom("\ud800", "\udfff", "\0", "\u2028", "a", "😀") }));
  fc.assert(
    fc.property(value, (each) => assert.deepEqual(decodeJson(encodeJson(each)), JSON.parse(JSON.stringify(each)))),
    { numRuns: 1_000 },
  );
});

test("properties that are undefined are dropped", () => assert.deepEqual(decodeJson(encodeJson({ a: undefined, b: null })), { b: null }));

test("a part of a larger array is read within its bounds", () => {
  const bytes = Buffer.concat([Buffer.from("[1]"), encodeJson({ a: "é" }), Buffer.from("[2]")]);
  assert.deepEqual(decodeJson(bytes.subarray(3, -3)), { a: "é" });
});
