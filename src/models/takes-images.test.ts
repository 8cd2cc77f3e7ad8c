import assert from "node:assert/strict";
import { test } from "node:test";
import { takesImages } from "./takes-images.ts";

for (const [name, expected] of [
  ["claude-sonnet-4-5", true],
  ["anthropic/claude-3-haiku", true],
  ["claude-2.1", false],
  ["gpt-4o-mini", true],
  ["gpt-5-mini", true],
  ["gpt-4", false],
  ["gpt-3.5-turbo", false],
  ["o3", true],
  ["o3-mini", false],
  ["o1-preview", false],
  ["gemini-2.5-flash", true],
  ["qwen2.5-vl:7b", true],
  ["qwen3:8b", false],
  ["llama3.2-vision", true],
  ["deepseek-chat", false],
] as const)
  test(`${name} ${expected ? "looks" : "is not known to look"} at images`, () => assert.equal(takesImages(name), expected));
