import assert from "node:assert/strict";
import { test } from "node:test";
import { listDeadLetters } from "../actors/dead-letters.ts";
import type { ModelRequest } from "../models/model.ts";
import type { ConversationAddress } from "./conversation.ts";
import { calls, lastResults, openTestAgents, project, type Script, type TestAgents, text } from "./testing.ts";

const tell = (agentId: string, message: string): ReturnType<typeof calls> =>
  calls({ name: "send_message_to_agent_async", arguments: { other_agent_id: agentId, message } });

/** The texts of the messages in a request, each after its role. */
function said(request: ModelRequest): string {
  return request.messages.map((message) => `${message.role} ${JSON.stringify(message.content)}`).join("\n");
}

/** Two agents: the one that says what `script` has it say, and one that it can tell something. */
async function openTwo(
  script: (other: string, request: ModelRequest) => ReturnType<Script>,
  otherSays: Script,
): Promise<AsyncDisposable & { readonly kelpie: TestAgents; readonly one: ConversationAddress; readonly other: ConversationAddress }> {
  let otherId = "";
  const kelpie = await openTestAgents((request, signal) => {
    const isOther = said(request).includes("I am the other one");
    return isOther ? otherSays(request, signal) : script(otherId, request);
  });
  const one = await kelpie.create({ include_multi_agent_tools: true });
  const other = await kelpie.create({
    memory_blocks: [{ label: "persona", value: "I am the other one" }],
    include_multi_agent_tools: true,
  });
  otherId = other.agentId;
  return { kelpie, one, other, [Symbol.asyncDispose]: async () => await kelpie[Symbol.asyncDispose]() };
}

/** Resolves when the agent has done `count` runs. */
async function runsOf({ agents }: TestAgents, { agentId }: ConversationAddress, count: number): Promise<void> {
  for (;;) {
    const runs = (await agents.conversations.runPage(project, { agentId }, { limit: 10 }))!;
    if (runs.filter(({ status }) => status === "completed").length >= count) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("An agent tells another one something, which works on it in a run of its own and can answer", async () => {
  let answered = false;
  await using two = await openTwo(
    (other, request) => {
      if (said(request).includes("The parcel is here")) return text("Good to know");
      return lastResults(request).length > 0 ? text("Done") : tell(other, "Where is the parcel?");
    },
    (request) => {
      if (answered) return text("That was all");
      answered = true;
      const [, sender] = /with the id (agent-[0-9a-f-]+)/u.exec(said(request))!;
      return tell(sender!, "The parcel is here");
    },
  );
  const { kelpie, one, other } = two;
  await kelpie.run(one, "Ask the other one where the parcel is");
  await runsOf(kelpie, other, 1);
  await runsOf(kelpie, one, 2);
  const asked = kelpie.requests.find((request) => said(request).includes("I am the other one"))!;
  assert.match(said(asked), new RegExp(`A message from the agent with the id ${one.agentId}.*Where is the parcel\\?`, "u"));
  const messages = (await kelpie.agents.conversations.messages(project, { conversation: other }, { limit: 20, reverse: false }))!;
  assert.equal(messages.filter((message) => message.sender_id === one.agentId).length, 1);
  assert.equal(messages.find((message) => message.sender_id === one.agentId)!.body.role, "system");
});

test("A message for an agent that is at work waits until its run is over, and starts one then", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let runs = 0;
  await using two = await openTwo(
    (other, request) => (lastResults(request).length > 0 ? text("Done") : tell(other, "Are you free?")),
    async function* () {
      if (++runs === 1) await held;
      yield { type: "text", delta: "Now I am" };
    },
  );
  const { kelpie, one, other } = two;
  const working = kelpie.run(other, "Work");
  await kelpie.run(one, "Ask the other one whether it is free");
  release();
  await working;
  await runsOf(kelpie, other, 2);
  assert.match(said(kelpie.requests.at(-1)!), /Are you free\?/u);
  assert.deepEqual(await listDeadLetters(kelpie.store, { project }, { limit: 10 }), []);
});

for (const [what, agentId, message, error] of [
  ["to an agent that there is not", "agent-00000000-0000-4000-8000-000000000000", "Hi", /There is no agent with the id agent-0000/u],
  ["that is too long", undefined, "x".repeat(70_000), /at most 64000 bytes/u],
] as const)
  test(`A message ${what} is a result that the model sees`, async () => {
    await using two = await openTwo(
      (other, request) => (lastResults(request).length > 0 ? text("I see") : tell(agentId ?? other, message)),
      () => text("never"),
    );
    await two.kelpie.run(two.one, "Go");
    assert.match(lastResults(two.kelpie.requests.at(-1)!)[0]!, error);
    assert.equal(two.kelpie.requests.length, 2);
  });
