import assert from "node:assert/strict";
import { test } from "node:test";
import { faultOfAnswer } from "./answer-fault.ts";

const schema = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 2, maxLength: 5 },
    count: { type: "integer", minimum: 1, maximum: 9 },
    share: { type: "number" },
    sure: { type: "boolean" },
    color: { type: "string", enum: ["red", "blue"] },
    size: { type: "string", oneOf: [{ const: "s", title: "Small" }] },
    days: { type: "array", maxItems: 2, items: { type: "string", enum: ["mon", "tue"] } },
    parts: { type: "array", items: { anyOf: [{ const: "a", title: "A" }] } },
    place: { type: "string", default: "here" },
  },
  required: ["name", "place"],
};

for (const [content, fault] of [
  [{ name: "Ann" }, undefined],
  [{ name: "Ann", count: 3, share: 0.5, sure: false, color: "red", size: "s", days: ["mon", "tue"], parts: ["a"] }, undefined],
  [{}, /"name" is required/],
  [undefined, /"name" is required/],
  [{ name: "Ann", age: 3 }, /There is no field "age": the fields are "name", /],
  [{ name: "Ann", toString: "x" }, /There is no field "toString"/],
  [{ name: "A" }, /"name" has to be a text of at least 2 and at most 5 characters/],
  [{ name: 3 }, /"name" has to be a text/],
  [{ name: "Ann", count: 1.5 }, /"count" has to be a whole number of at least 1 and at most 9/],
  [{ name: "Ann", count: 10 }, /"count"/],
  [{ name: "Ann", share: "0.5" }, /"share" has to be a number/],
  [{ name: "Ann", sure: "true" }, /"sure" has to be true or false/],
  [{ name: "Ann", color: "green" }, /"color" has to be one of "red", "blue"/],
  [{ name: "Ann", size: "xl" }, /"size" has to be one of "s"/],
  [{ name: "Ann", days: ["mon", "mon", "tue"] }, /"days" has to be a list of at most 2/],
  [{ name: "Ann", days: ["sun"] }, /"days" has to be a list of which each is one of "mon", "tue"/],
  [{ name: "Ann", parts: ["b"] }, /"parts"/],
  [{ name: "x".repeat(40_000) }, /at most 32000 bytes/],
] as const)
  test(`An answer ${JSON.stringify(content)?.slice(0, 80)} is ${fault === undefined ? "taken" : "refused"}`, () => {
    const found = faultOfAnswer(schema, { action: "accept", content });
    if (fault === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "", fault);
  });

test("Content comes only with an answer that accepts a form", () => {
  assert.match(faultOfAnswer(schema, { action: "decline", content: {} })!, /only if it accepts/);
  assert.match(faultOfAnswer(null, { action: "accept", content: {} })!, /only if it accepts/);
  assert.equal(faultOfAnswer(null, { action: "accept" }), undefined);
  assert.equal(faultOfAnswer(schema, { action: "cancel" }), undefined);
});
