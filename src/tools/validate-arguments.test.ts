import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Json } from "../base/json.ts";
import { argumentsDepthMax, argumentsLengthMax, validateArguments } from "./validate-arguments.ts";

const schema: Json = {
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer" },
    rate: { type: "number" },
    ok: { type: "boolean" },
    mode: { type: "string", enum: ["any", "all"] },
    tags: { type: "array", items: { type: "string" } },
    place: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
    maybe: { anyOf: [{ type: "string" }, { type: "null" }] },
    both: { type: ["string", "integer"] },
  },
  required: ["name"],
};

for (const text of [
  '{"name":"Ada"}',
  ' {"name":"Ada","age":3,"rate":0.5,"ok":true,"mode":"all","tags":["a"],"place":{"city":"x"},"maybe":null,"both":1} ',
  '{"name":"","unknown":{"deep":[1]}}',
  '{"name":"Ada","age":null}',
  '{"name":"Ada","__proto__":{"x":1},"constructor":1}',
])
  test(`${text.trim()} is accepted as it is`, () =>
    assert.deepEqual(validateArguments(text, schema), { ok: true, input: JSON.parse(text) as unknown }));

test("No arguments may be written as nothing", () => {
  assert.deepEqual(validateArguments("  ", { type: "object", properties: {} }), { ok: true, input: {} });
});

for (const [text, expected] of [
  ['{"name": }', /not valid JSON: Unexpected token '}'/],
  ['{"name":"Ada"', /not valid JSON: .* at position 13/],
  ['{"name":"A"} x', /not valid JSON: .* at position 13/],
  ['{"name":', /not valid JSON: Unexpected end/],
  ["[1]", /must be a JSON object .*not \[1\]/],
  ['"text"', /must be a JSON object/],
  ["null", /must be a JSON object/],
  ["{}", /`name` is required/],
  ['{"name":null}', /`name` must be a string, not null/],
  ['{"name":5}', /`name` must be a string, not 5/],
  ['{"name":"a","age":1.5}', /`age` must be a whole number, not 1.5/],
  ['{"name":"a","age":"1"}', /`age` must be a whole number, not "1"/],
  ['{"name":"a","ok":"true"}', /`ok` must be a boolean, not "true"/],
  ['{"name":"a","mode":"some"}', /`mode` must be one of "any", "all", not "some"/],
  ['{"name":"a","tags":"x"}', /`tags` must be a list, not "x"/],
  ['{"name":"a","tags":["x",1]}', /`tags\[1\]` must be a string, not 1/],
  ['{"name":"a","place":{}}', /`place.city` is required/],
  ['{"name":"a","place":{"city":"x","zip":1}}', /`place.zip` is not an argument; there are: city/],
  ['{"name":"a","maybe":1}', /`maybe` must be a string or null, not 1/],
  ['{"name":"a","both":true}', /`both` must be a string or a whole number, not true/],
  [`{"name":"a","tags":[${"1,".repeat(9)}1]}`, /and 5 more/],
  [`{"name":"a","age":"${"x".repeat(500)}"}`, /not "x{70,}\.\.\./],
] as const)
  test(`${text.slice(0, 50)} is refused with what would be right`, () => {
    const outcome = validateArguments(text, schema);
    assert.ok(!outcome.ok);
    assert.match(outcome.error, expected);
  });

test("Arguments that are too long or too deep are refused", () => {
  assert.match(JSON.stringify(validateArguments(`{"a":"${"x".repeat(argumentsLengthMax)}"}`, {})), /at most 1000000 are allowed/);
  const nested = (depth: number): string => `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assert.equal(validateArguments(nested(argumentsDepthMax - 1), {}).ok, true);
  assert.match(JSON.stringify(validateArguments(nested(argumentsDepthMax + 1), {})), /levels deep/);
  assert.equal(validateArguments(nested(400_000), {}).ok, false);
});

test("Keywords that are not understood and schemas that are none say nothing", () => {
  for (const odd of [
    true,
    null,
    "x",
    [],
    { type: "object", properties: { a: { format: "email", minLength: 5, $ref: "#/x" } } },
  ] satisfies Json[])
    assert.equal(validateArguments('{"a":"b"}', odd).ok, true);
});

test("Any text gives an outcome, and valid JSON objects pass an open schema", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => typeof validateArguments(text, schema).ok === "boolean"));
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (value) => {
      const text = JSON.stringify(value);
      assert.deepEqual(validateArguments(text, { type: "object" }), { ok: true, input: JSON.parse(text) as unknown });
    }),
  );
});
