import assert from "node:assert/strict";
import { test } from "node:test";
import type { CallToolResult } from "@modelcontextprotocol/client";
import { mcpLimits } from "./mcp.ts";
import { resultImages } from "./result-images.ts";

const png = Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), Buffer.alloc(30)]).toString("base64");
const image = (mimeType: string, data: string): CallToolResult["content"][number] => ({ type: "image", mimeType, data });

for (const [what, content, count] of [
  ["An image", image("image/png", png), 1],
  ["A resource that is one", { type: "resource", resource: { uri: "file:///a.png", mimeType: "image/png", blob: png } }, 1],
  ["An image of another kind than it says", image("image/jpeg", png), 0],
  ["A kind that no provider takes", image("image/svg+xml", png), 0],
  ["What is no base64", image("image/png", `${png.slice(0, -4)}*==*`), 0],
  ["A name that every object has", image("constructor", png), 0],
  ["A sound", { type: "audio", mimeType: "audio/wav", data: png }, 0],
  ["A larger one than may be", image("image/png", png.slice(0, 40).padEnd(mcpLimits.imageCharactersPerResult + 4, "A")), 0],
] as readonly (readonly [string, CallToolResult["content"][number], number])[])
  test(`${what} is ${count === 1 ? "shown" : "not shown"} to a model`, () => {
    assert.deepEqual(resultImages({ content: [content] }), count === 1 ? [{ mediaType: "image/png", base64: png }] : []);
  });

test("Of many images a model is shown the first ones", () => {
  const content = Array.from({ length: 20 }, () => image("image/png", png));
  assert.equal(resultImages({ content }).length, mcpLimits.imagesPerResult);
});
