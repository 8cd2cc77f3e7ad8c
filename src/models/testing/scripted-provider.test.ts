import assert from "node:assert/strict";
import { test } from "node:test";
import { type Script, ScriptedProvider } from "./scripted-provider.ts";

async function post(provider: ScriptedProvider, path: string, body: object): Promise<string> {
  const response = await fetch(provider.url + path, { method: "POST", body: JSON.stringify(body) });
  return response.text();
}

const script: Script = (request) =>
  request.lastMessage.role === "tool"
    ? { text: `It was ${request.lastMessage.text}` }
    : { toolCalls: [{ name: request.toolNames[0] ?? "none", arguments: { sides: 6 } }] };
const openai = { model: "m", messages: [{ role: "user", content: "Roll" }], tools: [{ type: "function", function: { name: "roll" } }] };
const anthropic = { model: "m", messages: [{ role: "user", content: [{ type: "text", text: "Roll" }] }], tools: [{ name: "roll" }] };

for (const [path, body, result] of [
  ["/v1/chat/completions", openai, { role: "tool", tool_call_id: "a", content: "4" }],
  ["/v1/messages", anthropic, { role: "user", content: [{ type: "tool_result", tool_use_id: "a", content: "4" }] }],
] as const) {
  test(`${path}: the same request has the same answer, streamed or whole, and the next step another`, async () => {
    await using provider = await ScriptedProvider.start(script);
    const first = await post(provider, path, body);
    assert.match(first, /"roll"/);
    assert.equal(await post(provider, path, body), first);
    const streamed = await post(provider, path, { ...body, stream: true });
    assert.match(streamed, /^(?:event|data): /);
    const id = /call_[0-9a-z]{11}_0/.exec(first)?.[0];
    assert.ok(id !== undefined && streamed.includes(id));
    const next = { ...body, messages: [...body.messages, result] };
    assert.match(await post(provider, path, next), /It was 4/);
    assert.equal(provider.count, 4);
    assert.deepEqual(
      provider.requests.map(({ number }) => number),
      [1, 2, 3, 4],
    );
  });
}

test("Models are listed, and a listing is not counted as a request to a model", async () => {
  await using provider = await ScriptedProvider.start(script, { models: ["a", "b"] });
  const list = (await (await fetch(`${provider.url}/v1/models`)).json()) as { data: { id: string }[] };
  assert.deepEqual(
    list.data.map(({ id }) => id),
    ["a", "b"],
  );
  assert.equal(provider.count, 0);
});

test("A script that throws is a status 500 with its reason", async () => {
  await using provider = await ScriptedProvider.start(() => {
    throw new Error("No such scene");
  });
  const response = await fetch(`${provider.url}/v1/messages`, { method: "POST", body: "{}" });
  assert.deepEqual([response.status, await response.text()], [500, "The script failed: Error: No such scene"]);
});
