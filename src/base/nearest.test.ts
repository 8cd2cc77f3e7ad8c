import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "./nearest.ts";

const names = ["port", "host", "data", "KELPIE_API_KEY", "KELPIE_PORT", "log-level"];

for (const [text, expected] of [
  ["prot", "port"],
  ["PORT", "port"],
  ["KELPIE_APIKEY", "KELPIE_API_KEY"],
  ["kelpie-port", "KELPIE_PORT"],
  ["loglevel", "log-level"],
  ["dta", "data"],
  ["colour", undefined],
  ["x", undefined],
  ["", undefined],
] as const)
  test(`The nearest name to ${JSON.stringify(text)} is ${expected}`, () => assert.equal(nearest(text, names), expected));
