import assert from "node:assert/strict";
import { test } from "node:test";
import { faultOfSchema } from "./schema-fault.ts";

const withX = (x: unknown): object => ({ type: "object", properties: { x } });
const nested = (depth: number): object => (depth === 0 ? { type: "string" } : { type: "array", items: nested(depth - 1) });

for (const [schema, fault] of [
  [{ type: "object" }, undefined],
  [withX({ type: ["string", "null"], enum: ["a", null], pattern: "^a", default: 3, "x-own": [] }), undefined],
  [withX({ $ref: "#" }), undefined],
  [withX(true), undefined],
  [withX({ type: "array", items: [{ type: "string" }] }), undefined],
  [{ type: "object", additionalProperties: false, $defs: { a: { type: "null" } }, required: ["x"] }, undefined],
  [nested(30), undefined],
  [nested(1_000), /more than 32 levels/],
  [withX({ type: "nonsense" }), /^the schema\.properties\.x\.type is no type$/],
  [withX({ type: [] }), /x\.type is no type/],
  [withX(null), /x is no schema/],
  [withX({ enum: [] }), /x\.enum is no list of values/],
  [withX({ enum: "a" }), /x\.enum/],
  [withX({ anyOf: { type: "string" } }), /x\.anyOf is no list/],
  [withX({ anyOf: [{ type: 3 }] }), /x\.anyOf\.0\.type/],
  [withX({ minimum: "1" }), /x\.minimum is no number/],
  [withX({ pattern: 1 }), /x\.pattern is no text/],
  [{ type: "object", required: "x" }, /required is no list of names/],
  [{ type: "object", properties: [] }, /properties is no object/],
  [true, /the schema is no schema/],
] as const)
  test(`A schema such as ${JSON.stringify(schema).slice(0, 70)} is ${fault === undefined ? "taken" : "refused"}`, () => {
    const found = faultOfSchema(schema);
    if (fault === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "", fault);
  });
