/** A1 to A4 of approval.ts, without a server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { decodeJson } from "../base/json.ts";
import { tupleRange } from "../base/tuple.ts";
import { transact } from "../storage/transaction.ts";
import { type PolicyOwner, replacePolicy } from "../tools/policy-record.ts";
import type { PolicyRule } from "../tools/tool-policy.ts";
import { replaceTool, findToolByName } from "../tools/tool-record.ts";
import type { OutsideTool } from "../tools/tool.ts";
import type { ConversationAddress } from "./conversation.ts";
import type { ApprovalMessage, SendOutcome } from "./conversations.ts";
import {
  calls,
  collect,
  lastResults,
  openTestAgents,
  outline,
  project,
  sendRequest,
  type TestAgents,
  text,
  userMessage,
} from "./testing.ts";
import { findApproval, pageApprovals, type WaitingApproval, waitingApproval } from "./waiting-approval.ts";

interface Mailing extends TestAgents {
  readonly environment: ManualEnvironment;
  /** To whom mails were sent. */
  readonly sent: string[];
  rules(rules: readonly PolicyRule[], owner?: PolicyOwner, seconds?: number): Promise<void>;
  /** The id of the request that waits. */
  waiting(address: ConversationAddress): Promise<string>;
  answer(address: ConversationAddress, approve: boolean, requestId?: string): Promise<SendOutcome>;
}

const askForMail: readonly PolicyRule[] = [{ tool: "send_mail", action: "ask" }];

/** An agent of it sends a mail to "a" whenever it is spoken to. Ids of calls are reused, as some providers do. */
async function openMailing(): Promise<Mailing> {
  const sent: string[] = [];
  const tool: OutsideTool = {
    name: "send_mail",
    description: "Sends a mail.",
    parameters: { type: "object", properties: { to: { type: "string" } }, required: ["to"] },
    effect: "once",
    execute: async (input) => (sent.push(String(input["to"])), { status: "success", text: "sent" }),
  };
  const environment = new ManualEnvironment();
  const agents = await openTestAgents(
    (request) => (lastResults(request).length > 0 ? text("done") : calls({ name: "send_mail", arguments: { to: "a" }, id: "call_0" })),
    { tools: [tool], environment },
  );
  const conversations = agents.agents.conversations;
  return {
    ...agents,
    environment,
    sent,
    async rules(rules, owner = "project", approval_seconds = 60) {
      await transact(agents.store, environment, (transaction) =>
        replacePolicy(transaction, project, owner, { version: undefined, rules, limits: [], approval_seconds }),
      );
    },
    create: async (fields) => await agents.create({ tools: ["send_mail"], include_base_tools: false, ...fields }),
    async waiting(address) {
      const [waiting] = (await pageApprovals(agents.store, project, address.agentId, { limit: 10 }))!;
      assert.ok(waiting !== undefined, "something waits");
      return waiting.id;
    },
    async answer(address, approve, requestId) {
      const message: ApprovalMessage = {
        type: "approval",
        decisions: [{ tool_call_id: "call_0", approve }],
        ...(requestId === undefined ? {} : { requestId }),
      };
      const outcome = await conversations.send(address, sendRequest([message]));
      if (outcome.ok) await collect(await conversations.follow(project, outcome.runId, 0, new AbortController().signal));
      return outcome;
    },
  };
}

test("A call that a policy asks for is made once it is approved, and once", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const address = await kelpie.create();
  await kelpie.run(address, "Hi");
  assert.deepEqual(kelpie.sent, []);
  const id = await kelpie.waiting(address);
  assert.equal((await findApproval(kelpie.store, project, id))!.pending.calls[0]!.call.arguments, '{"to":"a"}');
  assert.ok((await kelpie.answer(address, true, id)).ok);
  assert.deepEqual(kelpie.sent, ["a"]);
  assert.equal(await findApproval(kelpie.store, project, id), undefined);
  assert.deepEqual(await kelpie.answer(address, true, id), { ok: false, reason: "noPendingApproval" });
  assert.deepEqual(kelpie.sent, ["a"]);
});

test("An approval of an earlier request does not count for a later one with the same ids of calls", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const address = await kelpie.create();
  await kelpie.run(address, "Hi");
  const first = await kelpie.waiting(address);
  await kelpie.answer(address, false, first);
  await kelpie.run(address, "Hi again");
  const second = await kelpie.waiting(address);
  const replayed = await kelpie.answer(address, true, first);
  assert.deepEqual(replayed, { ok: false, reason: "otherApproval", expected: second, given: first });
  assert.deepEqual(kelpie.sent, []);
});

test("After its time an approval is refused and a denial is taken", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const address = await kelpie.create();
  await kelpie.run(address, "Hi");
  kelpie.environment.clock.jump(59_999);
  const id = await kelpie.waiting(address);
  kelpie.environment.clock.jump(1);
  const late = await kelpie.answer(address, true, id);
  assert.equal(late.ok ? undefined : late.reason, "approvalExpired");
  assert.ok((await kelpie.answer(address, false, id)).ok);
  assert.deepEqual(kelpie.sent, []);
});

test("After its time a new message counts as a denial", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const address = await kelpie.create();
  await kelpie.run(address, "Hi");
  const first = await kelpie.waiting(address);
  assert.deepEqual(await kelpie.agents.conversations.send(address, sendRequest([userMessage("?")])), {
    ok: false,
    reason: "pendingApproval",
  });
  kelpie.environment.clock.jump(60_000);
  await kelpie.run(address, "Hi again");
  assert.notEqual(await kelpie.waiting(address), first);
  assert.match(JSON.stringify(kelpie.requests.at(-1)!.messages), /No decision was made in time/);
});

test("A tool that changed since it was asked for is another one: its call is not approved, and can be denied", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const address = await kelpie.create();
  await kelpie.run(address, "Hi");
  await transact(kelpie.store, kelpie.environment, async (transaction) => {
    const before = (await findToolByName(transaction, project, "send_mail"))!;
    await replaceTool(transaction, project, before, { ...before, json_schema: { ...before.json_schema, description: "Sends it to all." } });
  });
  assert.deepEqual(await kelpie.answer(address, true), { ok: false, reason: "approvalOutdated", tools: ["send_mail"] });
  assert.ok((await kelpie.answer(address, false)).ok);
  assert.deepEqual(kelpie.sent, []);
});

for (const [name, owner] of [
  ["the project's policy", () => "project" as const],
  ["the agent's policy", ({ agentId }: ConversationAddress) => ({ agentId })],
] as const)
  test(`What ${name} denies between the ask and the approval is not called`, async () => {
    await using kelpie = await openMailing();
    await kelpie.rules(askForMail);
    const address = await kelpie.create();
    await kelpie.run(address, "Hi");
    await kelpie.rules([{ tool: "send_mail", arguments: { "/to": "a*" }, action: "deny" }], owner(address));
    assert.ok((await kelpie.answer(address, true)).ok);
    assert.deepEqual(kelpie.sent, []);
    assert.match(lastResults(kelpie.requests.at(-1)!)[0]!, /the rules of the owner deny it/);
    assert.equal(kelpie.environment.count("agents.call.denied") > 0, true);
  });

test("A call that was free when it was made and is asked for before it leaves is not called", async () => {
  const made: string[] = [];
  const begun = Promise.withResolvers<void>();
  const changed = Promise.withResolvers<void>();
  const tool: OutsideTool = {
    name: "step",
    description: "",
    parameters: { type: "object", properties: { n: { type: "number" } } },
    effect: "once",
    async execute(input) {
      made.push(String(input["n"]));
      begun.resolve();
      await changed.promise;
      return { status: "success", text: "" };
    },
  };
  await using kelpie = await openTestAgents(
    (request) =>
      lastResults(request).length > 0
        ? text("done")
        : calls({ name: "step", arguments: { n: 1 }, id: "1" }, { name: "step", arguments: { n: 2 }, id: "2" }),
    { tools: [tool] },
  );
  const address = await kelpie.create({ tools: ["step"] });
  const running = kelpie.run(address, "Go");
  await begun.promise;
  await transact(kelpie.store, kelpie.environment, (transaction) =>
    replacePolicy(transaction, project, "project", {
      version: undefined,
      rules: [{ tool: "step", arguments: { "/n": "2" }, action: "ask" }],
      limits: [],
      approval_seconds: 60,
    }),
  );
  changed.resolve();
  await running;
  assert.deepEqual(made, ["1"]);
  assert.match(lastResults(kelpie.requests.at(-1)!)[1]!, /wants a person to be asked/);
});

test("A client's tool that is approved in place of its result is not called", async () => {
  await using kelpie = await openTestAgents((request) =>
    lastResults(request).length > 0 ? text("I see") : calls({ name: "weather", arguments: {}, id: "call-1" }),
  );
  const address = await kelpie.create();
  const clientTools = [{ name: "weather", description: "", parameters: { type: "object" } }];
  await kelpie.run(address, "Weather?", { clientTools });
  assert.deepEqual(await pageApprovals(kelpie.store, project, undefined, { limit: 10 }), [], "no person is asked");
  await kelpie.run(address, [{ type: "approval", decisions: [{ tool_call_id: "call-1", approve: true }] }], { clientTools });
  assert.match(lastResults(kelpie.requests.at(-1)!)[0]!, /the client has it, and has sent no result/);
});

test("A call that a crash interrupted and that may be made again is made again, whatever the rate of its tool", async () => {
  const script = (request: Parameters<Parameters<typeof openTestAgents>[0]>[0]): ReturnType<typeof text> =>
    lastResults(request).length > 0 ? text("ok") : calls({ name: "touch", arguments: {} });
  const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let called = 0;
  const tool: OutsideTool = {
    name: "touch",
    description: "",
    parameters: { type: "object", properties: {} },
    effect: "idempotent",
    async execute() {
      begun[called++]?.resolve();
      // The first two are never answered: the node ends before.
      if (called <= 2) await new Promise(() => {});
      return { status: "success", text: "touched" };
    },
  };
  const first = await openTestAgents(script, { tools: [tool] });
  const runIds: string[] = [];
  for (let n = 0; n < 2; n++) {
    const sent = await first.agents.conversations.send(await first.create({ tools: ["touch"] }), sendRequest([userMessage("Go")]));
    assert.ok(sent.ok);
    runIds.push(sent.runId);
  }
  await Promise.all(begun.map(({ promise }) => promise));
  await transact(first.store, first.environment, (transaction) =>
    replacePolicy(transaction, project, "project", {
      version: undefined,
      rules: [],
      limits: [{ tool: "touch", calls: 1, seconds: 86_400 }],
      approval_seconds: 60,
    }),
  );
  await using second = await openTestAgents(script, { store: first.store, tools: [tool] });
  for (const runId of runIds) {
    const events = await collect(await second.agents.conversations.follow(project, runId, 0, new AbortController().signal));
    assert.deepEqual(outline(events).slice(0, 2), ["call touch", "return success"]);
  }
  assert.equal(called, 4);
});

test("Lists of approvals are paged, by agent, and know unknown cursors", async () => {
  await using kelpie = await openMailing();
  await kelpie.rules(askForMail);
  const addresses: ConversationAddress[] = [];
  for (let n = 0; n < 3; n++) {
    const address = await kelpie.create();
    addresses.push(address);
    await kelpie.run(address, "Hi");
    kelpie.environment.clock.jump(1_000);
  }
  const agentsOf = async (limit: number, after?: string): Promise<string[]> =>
    (await pageApprovals(kelpie.store, project, undefined, { limit, ...(after === undefined ? {} : { after }) }))!.map(
      (each) => each.agent_id,
    );
  const all = addresses.map(({ agentId }) => agentId);
  assert.deepEqual(await agentsOf(10), all);
  assert.deepEqual(await agentsOf(1), all.slice(0, 1));
  assert.deepEqual(await agentsOf(10, await kelpie.waiting(addresses[0]!)), all.slice(1));
  assert.equal(await pageApprovals(kelpie.store, project, undefined, { limit: 1, after: "message-unknown" }), undefined);
});

const operations = ["send", "approve", "deny", "replay", "cancel", "reset", "compact", "recompile", "expire", "delete"] as const;

test("Whatever happens to a conversation, it has a row of its approval for exactly as long as it waits", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...operations), { minLength: 1, maxLength: 12 }), async (steps) => {
      await using kelpie = await openMailing();
      await kelpie.rules(askForMail);
      const { conversations } = kelpie.agents;
      let address = await kelpie.create();
      let old: string | undefined;
      let approved = 0;
      for (const step of steps) {
        const before = kelpie.sent.length;
        const waiting = (await conversations.context(address))?.pending?.messageId;
        if (step === "send") await ignoring(kelpie.run(address, "Hi"));
        if (step === "approve" && (await kelpie.answer(address, true)).ok) approved++;
        if (step === "deny") await kelpie.answer(address, false);
        if (step === "replay" && old !== undefined && old !== waiting) await kelpie.answer(address, true, old);
        if (step === "cancel") await conversations.cancel(address, null);
        if (step === "reset") await conversations.reset(address);
        if (step === "compact") await ignoring(conversations.compact(address, { mode: "all" }, new AbortController().signal));
        if (step === "recompile") await conversations.recompile(address, false);
        if (step === "expire") kelpie.environment.clock.jump(60_000);
        if (step === "delete") {
          await kelpie.agents.directory.delete(project, address.agentId);
          address = await kelpie.create();
        }
        assert.ok(step === "approve" || kelpie.sent.length === before, `${step} sends nothing`);
        const pending = (await conversations.context(address))?.pending;
        const expected = waitingApproval(address, pending);
        assert.deepEqual(await approvalRows(kelpie), expected === undefined ? [] : [expected]);
        old ??= pending?.messageId;
      }
      assert.equal(kelpie.sent.length, approved);
    }),
    { numRuns: 40 },
  );
});

/** All rows, those of the indexes counted. */
async function approvalRows({ store }: TestAgents): Promise<WaitingApproval[]> {
  const rows = async (kind: string): Promise<unknown[]> => {
    const [found] = await store.read([{ ...tupleRange([project, kind]), limit: 100 }]);
    return found!.map(({ value }) => decodeJson<unknown>(value));
  };
  const all = (await rows("approval")) as WaitingApproval[];
  for (const index of ["created", "agent"])
    assert.deepEqual(
      await rows(`approval.${index}`),
      all.map(({ id }) => id),
    );
  return all;
}

async function ignoring(work: Promise<unknown>): Promise<void> {
  // A refusal changes nothing, which is what is looked at afterwards.
  await work.catch(() => undefined);
}
