import assert from "node:assert/strict";
import { test } from "node:test";
import type { ModelRequest } from "../models/model.ts";
import type { OutsideTool } from "../tools/tool.ts";
import { calls, lastResults, lastUserText, openTestAgents, outline, text } from "./testing.ts";

/** Characters of base64 that the results of each request's messages show. */
function imageCharacters({ messages }: ModelRequest): number[] {
  return messages.flatMap((message) =>
    message.role === "tool" ? [(message.images ?? []).reduce((sum, { base64 }) => sum + base64.length, 0)] : [],
  );
}

test("A model sees images of results in the run in which they came, and of many at once as many as fit", async () => {
  const size = 1_000_000;
  const look: OutsideTool = {
    name: "look",
    description: "Looks.",
    parameters: { type: "object", properties: {} },
    effect: "once",
    execute: async () => ({ status: "success", text: "[image]", images: [{ mediaType: "image/png", base64: "A".repeat(size) }] }),
  };
  await using kelpie = await openTestAgents(
    (request) =>
      lastUserText(request) === "Look" && lastResults(request).length === 0
        ? calls(...Array.from({ length: 12 }, (_, at) => ({ name: "look", arguments: {}, id: String(at) })))
        : text("ok"),
    { tools: [look], contextWindow: 1_000_000 },
  );
  const address = await kelpie.create({ tools: ["look"] });
  const events = await kelpie.run(address, "Look");
  assert.deepEqual(outline(events).slice(2), ["assistant ok", "stop end_turn", "usage_statistics"]);
  assert.ok(!JSON.stringify(events).includes("A".repeat(100)), "no event has them");
  const shown = imageCharacters(kelpie.requests.at(-1)!);
  assert.equal(shown.length, 12);
  assert.deepEqual(
    shown.filter((characters) => characters > 0),
    [size, size, size],
  );
  await kelpie.run(address, "And now?");
  assert.deepEqual(new Set(imageCharacters(kelpie.requests.at(-1)!)), new Set([0]));
});
