/**
 * Letta's own client, unmodified, with a Kelpie that is killed and stopped in the middle of answers.
 *
 * Run it with `npm run example:letta-client`. It starts a server of its own, checks what it sees, and fails if something is wrong.
 */
import assert from "node:assert/strict";
import Letta from "@letta-ai/letta-client";
import { ServerProcess } from "./start-server.ts";

type Stream = AsyncIterable<Letta.Agents.LettaStreamingResponse>;

/** What was seen of a run: its text, and where it was when it was left. */
interface Seen {
  text: string;
  chunks: number;
  runId: string;
  seq: number;
  stopReason: string | undefined;
  /** Names of tools, by the id of the call. */
  readonly calls: Map<string, string>;
}

await using server = await ServerProcess.start({ KELPIE_DEMO_TOKEN_MILLISECONDS: "10" });
const letta = new Letta({ baseURL: server.url, apiKey: "any" });

say("An agent");
const agent = await letta.agents.create({
  name: "Ada's helper",
  model: "kelpie/demo",
  memory_blocks: [
    { label: "human", value: "Nothing is known yet." },
    { label: "persona", value: "I am brief." },
  ],
});
say(`  ${agent.id}, model ${agent.model}`);

say("An answer, token by token, and an edit of the agent's own memory");
const remembered = await follow(await send("Remember that my name is Ada"));
const called = [...remembered.calls.values()];
assert.ok(remembered.chunks > 3, `The answer came in ${remembered.chunks} pieces`);
assert.ok(called.includes("memory_insert"), `A memory tool was called: ${called.join(", ")}`);
assert.equal(remembered.stopReason, "end_turn");
assert.match(await humanBlock(), /Ada/);
say(`  ${remembered.chunks} pieces; calls: ${called.join(", ")}; the block: ${JSON.stringify(await humanBlock())}`);

say("The server is killed in the middle of an answer, and started again: the run goes on");
const killed = await interrupted(() => server.kill());
await server.restart();
await follow(await letta.runs.messages.stream(killed.runId, { starting_after: killed.seq }), killed);
checkCount(killed);

say("The server is stopped in good order in the middle of an answer, and started again");
const stopped = await interrupted(async () => assert.equal(await server.stop(), 0, "A stop in good order ends with exit code 0"));
await server.restart();
await follow(await letta.runs.messages.stream(stopped.runId, { starting_after: stopped.seq }), stopped);
checkCount(stopped);

say("What was remembered is still there");
assert.match(await humanBlock(), /Ada/);
const recalled = await follow(await send("What is my name?"));
assert.match(recalled.text, /Ada/);
say(`  ${JSON.stringify(recalled.text)}`);

say("The messages, page by page, both ways");
const forwards = await idsOf(letta.agents.messages.list(agent.id, { order: "asc", limit: 3 }));
const all = (await letta.agents.messages.list(agent.id, { order: "asc", limit: 1_000 })).getPaginatedItems().map((message) => message.id);
assert.deepEqual(distinct(forwards), distinct(all), "Forwards, page by page, gives every message once and in order");
const backwards: string[] = [];
for (let before: string | undefined; ; before = backwards[0]!) {
  const page = await letta.agents.messages.list(agent.id, { limit: 3, ...(before === undefined ? {} : { before }) });
  const ids = page.getPaginatedItems().map((message) => message.id);
  if (ids.length === 0) break;
  backwards.unshift(...ids);
}
assert.deepEqual(distinct(backwards), distinct(all), "Backwards, page by page, gives the same");
say(`  ${distinct(all).length} messages`);

const questions = (await letta.agents.messages.list(agent.id, { order: "asc", limit: 1_000 }))
  .getPaginatedItems()
  .flatMap((message) => (message.message_type === "user_message" ? [textOf(message.content)] : []));
assert.deepEqual(
  questions,
  ["Remember that my name is Ada", "Count to 60", "Count to 60", "What is my name?"],
  "Every question is there once",
);

await letta.agents.delete(agent.id);
say("Everything was as it should be.");

async function send(text: string): Promise<Stream> {
  return await letta.agents.messages.create(agent.id, {
    messages: [{ role: "user", content: text }],
    streaming: true,
    stream_tokens: true,
    background: true,
  });
}

/** Reads to the end, or until the connection breaks. */
async function follow(
  stream: Stream,
  seen: Seen = { text: "", chunks: 0, runId: "", seq: 0, stopReason: undefined, calls: new Map() },
  watch?: () => void,
): Promise<Seen> {
  for await (const message of stream) {
    if ("run_id" in message && typeof message.run_id === "string") seen.runId = message.run_id;
    // Only events that were seen whole count: what comes after the last of them is asked for again.
    if ("seq_id" in message && typeof message.seq_id === "number" && message.message_type !== "ping") {
      assert.ok(message.seq_id > seen.seq, `Event ${message.seq_id} came after event ${seen.seq}`);
      seen.seq = message.seq_id;
    }
    if (message.message_type === "assistant_message") {
      seen.text += textOf(message.content);
      seen.chunks++;
    }
    if (message.message_type === "tool_call_message" && message.tool_call.name != null)
      seen.calls.set(message.tool_call.tool_call_id ?? "", message.tool_call.name);
    if (message.message_type === "stop_reason") seen.stopReason = message.stop_reason;
    watch?.();
  }
  return seen;
}

/** Asks for a long answer, and does `disturb` when a part of it has come. */
async function interrupted(disturb: () => Promise<void>): Promise<Seen> {
  const seen: Seen = { text: "", chunks: 0, runId: "", seq: 0, stopReason: undefined, calls: new Map() };
  let disturbance: Promise<void> | undefined;
  try {
    await follow(await send("Count to 60"), seen, () => {
      if (seen.chunks >= 10) disturbance ??= disturb();
    });
  } catch (error) {
    // The connection broke, which is what a killed server does. Anything else is a failure of this example.
    if (error instanceof assert.AssertionError) throw error;
  }
  await disturbance;
  assert.equal(seen.stopReason, undefined, "The answer was not over yet");
  say(`  after ${seen.chunks} pieces, at event ${seen.seq}`);
  return seen;
}

/** Each number once and in order: nothing was lost, nothing was shown twice. */
function checkCount(seen: Seen): void {
  const numbers = [...seen.text.matchAll(/\d+/g)].map(([number]) => Number(number));
  assert.deepEqual(
    numbers,
    Array.from({ length: 60 }, (_, index) => index + 1),
  );
  assert.equal(seen.stopReason, "end_turn");
  say("  1 to 60, each once");
}

async function humanBlock(): Promise<string> {
  return (await letta.agents.blocks.retrieve("human", { agent_id: agent.id })).value;
}

async function idsOf(messages: AsyncIterable<{ readonly id: string }>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of messages) ids.push(id);
  return ids;
}

/** Several messages of the list may be parts of one stored message, with its id. */
function distinct(ids: readonly string[]): string[] {
  return [...new Set(ids)];
}

function textOf(content: string | readonly object[]): string {
  if (typeof content === "string") return content;
  return content.map((part) => ("text" in part && typeof part.text === "string" ? part.text : "")).join("");
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
