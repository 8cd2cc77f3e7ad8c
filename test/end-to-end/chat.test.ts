import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import { kelpie } from "./kelpie-command.ts";

let server: ServerProcess;
before(async () => {
  server = await ServerProcess.start({ KELPIE_DEMO_TOKEN_MILLISECONDS: "5" });
});
after(() => server[Symbol.asyncDispose]());

const at = (...args: readonly string[]): readonly string[] => [...args, "--server", server.url];

test("One message shows the memory edit and the answer, and the next chat knows the agent", async () => {
  const first = await kelpie(at("chat", "-m", "Remember that my name is Ada"));
  assert.equal(first.code, 0, first.notes);
  assert.match(first.output, /✎ memory block human\n(.*\n)*? {2}\+ .*Ada/);
  const second = await kelpie(at("chat", "-m", "What is my name?"));
  assert.match(second.output, /Ada/);
});

test("Piped lines are messages, answered in order", async () => {
  const { code, output, notes } = await kelpie(at("chat", "--new"), { input: "Count to 3\n\nCount to 5\n" });
  assert.equal(code, 0, notes);
  assert.match(output, /1[\s\S]*2[\s\S]*3[\s\S]*1[\s\S]*2[\s\S]*3[\s\S]*4[\s\S]*5/);
});

test("With --json each event is a line, numbered without a gap in order", async () => {
  const { output } = await kelpie(at("chat", "--json", "-m", "Count to 5"));
  const events = output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { message_type: string; seq_id?: number });
  const seqs = events.map((event) => event.seq_id ?? Number.NaN);
  assert.deepEqual(
    seqs,
    seqs.toSorted((left, right) => left - right),
  );
  assert.deepEqual(
    events.slice(-2).map((event) => event.message_type),
    ["stop_reason", "usage_statistics"],
  );
});

test("An answer survives the death of the server in its middle", async () => {
  let killed: Promise<void> | undefined;
  const { code, output } = await kelpie(at("chat", "-m", "Count to 300"), {
    watch: (text) => {
      if (/\b40\b/.test(text)) killed ??= server.kill().then(() => server.restart());
    },
  });
  await killed;
  assert.ok(killed !== undefined);
  assert.equal(code, 0, output);
  assert.match(output, /connection lost/);
  assert.match(output, /connected again/);
  const numbers = [...output.replaceAll(/\(.*\)\n/g, "").matchAll(/\d+/g)].map(([number]) => Number(number));
  assert.deepEqual(
    numbers,
    Array.from({ length: 300 }, (_, index) => index + 1),
  );
});

test("Ctrl-C cancels an answer", async () => {
  let isSignalled = false;
  const { output } = await kelpie(at("chat", "-m", "Count to 900"), {
    watch: (text, child) => {
      if (isSignalled || !/\b20\b/.test(text)) return;
      isSignalled = true;
      child.kill("SIGINT");
    },
  });
  assert.match(output, /\(cancelled\)/);
  assert.doesNotMatch(output, /\b900\b/);
});

test("agents are made, listed, shown and deleted; unknown ones are an error", async () => {
  const made = await kelpie(at("agents", "create", "--name", "Grace", "--human", "Likes clocks", "--json"));
  assert.equal(made.code, 0, made.notes);
  const { id } = JSON.parse(made.output) as { id: string };
  assert.match((await kelpie(at("agents", "list"))).output, new RegExp(`${id} +Grace`));
  assert.match((await kelpie(at("agents", "show", "Grace"))).output, /block human.*\nLikes clocks/);
  assert.equal((await kelpie(at("agents", "delete", id))).code, 0);
  const gone = await kelpie(at("agents", "show", id));
  assert.equal(gone.code, 1);
  assert.match(gone.notes, /There is no agent agent-/);
});

test("runs are listed, shown and followed to their end", async () => {
  await kelpie(at("chat", "-m", "Count to 4"));
  const listed = await kelpie(at("runs", "list", "--json"));
  const [run] = JSON.parse(listed.output) as { id: string; status: string }[];
  assert.equal(run!.status, "completed");
  assert.match((await kelpie(at("runs", "show", run!.id))).output, /status +completed/);
  const followed = await kelpie(at("runs", "follow", run!.id));
  assert.equal(followed.code, 0, followed.notes);
  assert.match(followed.output, /1\D+2\D+3\D+4/);
});
