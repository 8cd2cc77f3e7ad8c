/** Approvals and limits of calls, in real servers that are killed: every call is counted where it arrives. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import { ApiError, type ApiMessage } from "../../src/cli/api-client.ts";
import { followRun } from "../../src/cli/follow-run.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { clientOf, clusterAt, membersAt } from "./cluster-client.ts";
import { CountedMcpServer } from "./counted-mcp-server.ts";
import { kelpie } from "./kelpie-command.ts";

interface Approval {
  readonly id: string;
  readonly agent_id: string;
  readonly hash: string;
  readonly expires_at: string;
  readonly calls: readonly { readonly tool_call_id: string; readonly name: string; readonly arguments: string }[];
}

const variables = { KELPIE_DEMO_TOKEN_MILLISECONDS: "0", KELPIE_LEAVE_SECONDS: "0" };
const askForPayments = [{ tool: "bank__pay", action: "ask" }];
const figures = { approved: 0, allowed: 0, refused: 0, kills: 0 };

let bank: CountedMcpServer;
let server: ServerProcess;
before(async () => {
  bank = await CountedMcpServer.start();
  server = await ServerProcess.start(variables);
  await addBank(server.url);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await bank[Symbol.asyncDispose]();
});

async function request<T>(url: string, method: string, path: string, body?: unknown): Promise<T> {
  return await clientOf(url).request<T>(method, path, body === undefined ? {} : { body });
}

async function addBank(url: string): Promise<string> {
  const config = { mcp_server_type: "streamable_http", server_url: bank.url };
  return (await request<{ readonly id: string }>(url, "POST", "/v1/mcp-servers", { server_name: "bank", config })).id;
}

async function policy(url: string, change: object): Promise<void> {
  await request(url, "PUT", "/v1/tool-policy", { rules: [], ...change });
}

async function newPayer(url: string): Promise<string> {
  const tools = ["bank__pay", "bank__look_up"];
  return (await request<{ readonly id: string }>(url, "POST", "/v1/agents", { model: "kelpie/demo", include_base_tools: false, tools })).id;
}

interface Answer {
  readonly messages: readonly ApiMessage[];
  readonly stop_reason: { readonly stop_reason: string };
}

async function say(url: string, agentId: string, input: string): Promise<Answer> {
  return await request<Answer>(url, "POST", `/v1/agents/${agentId}/messages`, { input });
}

function pay(to: string, amount = 1): string {
  return `call bank__pay ${JSON.stringify({ to, amount })}`;
}

/** The request for the approval of a payment. */
async function askedFor(url: string, agentId: string, to: string): Promise<Approval> {
  assert.equal((await say(url, agentId, pay(to))).stop_reason.stop_reason, "requires_approval");
  const [approval] = await request<Approval[]>(url, "GET", `/v1/approvals?agent_id=${agentId}`);
  assert.deepEqual(JSON.parse(approval!.calls[0]!.arguments), { to, amount: 1 });
  return approval!;
}

/** Decides, and lets the run that goes on come to its end. Gives what the tools returned. */
async function decide(url: string, approval: Approval, body: object): Promise<string[]> {
  const run = await request<{ readonly id: string }>(url, "POST", `/v1/approvals/${approval.id}`, body);
  const returns: string[] = [];
  const follow = { runId: run.id, after: 0, onConnection: () => {}, signal: new AbortController().signal };
  for await (const message of followRun(clientOf(url), follow))
    if (message.message_type === "tool_return_message") returns.push(String(message["tool_return"]));
  return returns;
}

async function refused(status: number, text: RegExp, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, status, error.message);
    assert.match(error.message, text);
    return true;
  });
  figures.refused++;
}

function assertPaidOnce(to: string): void {
  assert.deepEqual(bank.paid(to), [to]);
  figures.approved++;
}

test("A call that waits survives kill -9, is made once when it is approved, and its approval is good for nothing else", async () => {
  await policy(server.url, { rules: askForPayments });
  const agentId = await newPayer(server.url);
  const asked = await askedFor(server.url, agentId, "ada");
  await server.kill();
  await server.restart();
  figures.kills++;
  const [found] = await request<Approval[]>(server.url, "GET", "/v1/approvals");
  assert.deepEqual(found, asked);
  assert.deepEqual(bank.paid("ada"), []);
  assert.deepEqual(await decide(server.url, asked, { approve: true, hash: asked.hash }), ["paid ada"]);
  assertPaidOnce("ada");
  await refused(409, /does not wait for an approval any more/, decide(server.url, asked, { approve: true, hash: asked.hash }));
  const again = await askedFor(server.url, agentId, "ada");
  for (const approval_request_id of [asked.id, undefined]) {
    const approvals = [{ type: "approval", tool_call_id: asked.calls[0]!.tool_call_id, approve: true }];
    const body = { messages: [{ type: "approval", approvals, approval_request_id }] };
    await refused(400, /Invalid (approval request ID|tool call IDs)/, request(server.url, "POST", `/v1/agents/${agentId}/messages`, body));
  }
  await decide(server.url, again, { approve: false });
  assert.deepEqual(bank.paid("ada"), ["ada"]);
});

test("A server that is killed while an approved call is under way reports it as unknown, and does not make it again", async () => {
  await policy(server.url, { rules: askForPayments });
  const agentId = await newPayer(server.url);
  const asked = await askedFor(server.url, agentId, "bea");
  const arrived = Promise.withResolvers<void>();
  // Its answer is lost: the call has taken effect, and nobody here knows.
  bank.gate = async () => (arrived.resolve(), await new Promise(() => {}));
  const run = await request<{ readonly id: string }>(server.url, "POST", `/v1/approvals/${asked.id}`, { approve: true });
  await arrived.promise;
  await server.kill();
  bank.gate = async () => {};
  await server.restart();
  figures.kills++;
  const follow = { runId: run.id, after: 0, onConnection: () => {}, signal: new AbortController().signal };
  const messages: ApiMessage[] = [];
  for await (const message of followRun(clientOf(server.url), follow)) messages.push(message);
  assert.match(JSON.stringify(messages), /outcome of bank__pay is unknown/);
  await refused(409, /does not wait for an approval any more/, decide(server.url, asked, { approve: true }));
  assertPaidOnce("bea");
});

test("An approval that comes after its time is refused, a denial is not", async () => {
  await policy(server.url, { rules: askForPayments, approval_seconds: 1 });
  const agentId = await newPayer(server.url);
  const asked = await askedFor(server.url, agentId, "cyd");
  // The instant is the server's, whose clock is this one's.
  while (Date.now() < Date.parse(asked.expires_at)) await sleep(Date.parse(asked.expires_at) - Date.now());
  await refused(409, /came too late: the request for it expired at/, decide(server.url, asked, { approve: true }));
  const late = await kelpie(["approvals", "approve", asked.id, "--server", server.url]);
  assert.equal(late.code, 1);
  assert.match(late.notes, /^error: CONFLICT: The approval came too late/);
  assert.match((await decide(server.url, asked, { approve: false, reason: "Too late" }))[0]!, /User reason: Too late/);
  assert.deepEqual(bank.paid("cyd"), []);
});

test("An approval for other arguments, or for what the tool was before it changed, is refused", async () => {
  await policy(server.url, { rules: askForPayments });
  const agentId = await newPayer(server.url);
  const asked = await askedFor(server.url, agentId, "dan");
  await refused(409, /for other arguments/, decide(server.url, asked, { approve: true, hash: "0".repeat(64) }));
  bank.description = "Pays somebody twice.";
  const [bankServer] = await request<{ readonly id: string }[]>(server.url, "GET", "/v1/mcp-servers");
  await request(server.url, "PATCH", `/v1/mcp-servers/${bankServer!.id}/refresh`, {});
  await refused(409, /these tools have changed: \['bank__pay'\]/, decide(server.url, asked, { approve: true, hash: asked.hash }));
  await decide(server.url, asked, { approve: false });
  assert.deepEqual(bank.paid("dan"), []);
});

test("Of approvals of several clients at the same time one counts", async () => {
  await policy(server.url, { rules: askForPayments });
  const agentId = await newPayer(server.url);
  const asked = await askedFor(server.url, agentId, "eve");
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => decide(server.url, asked, { approve: true })));
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  for (const outcome of outcomes) if (outcome.status === "rejected") assert.ok([400, 409].includes((outcome.reason as ApiError).status));
  figures.refused += outcomes.length - 1;
  assertPaidOnce("eve");
});

test("A policy allows, asks for and denies calls by their arguments, and counts when the call leaves", async () => {
  const agentId = await newPayer(server.url);
  await policy(server.url, {
    rules: [
      { tool: "bank__pay", arguments: { "/to": "friend-*" }, action: "allow" },
      { tool: "bank__pay", arguments: { "/to": "stranger-*" }, action: "deny" },
      { tool: "bank__*", arguments: { "/amount": "*" }, action: "ask" },
    ],
  });
  assert.equal((await say(server.url, agentId, pay("friend-1"))).stop_reason.stop_reason, "end_turn");
  const denied = await say(server.url, agentId, pay("stranger-1"));
  assert.match(JSON.stringify(denied.messages), /the rules of the owner deny it/);
  const asked = await askedFor(server.url, agentId, "other-1");
  await request(server.url, "PUT", `/v1/agents/${agentId}/tool-policy`, { rules: [{ tool: "bank__pay", action: "deny" }] });
  assert.match((await decide(server.url, asked, { approve: true }))[0]!, /the rules of the owner deny it/);
  assert.deepEqual(
    bank.paid().filter((to) => to.endsWith("-1")),
    ["friend-1"],
  );
  figures.allowed++;
});

test("A tool over its rate says when it can be called again", async () => {
  await policy(server.url, { limits: [{ tool: "bank__look_up", calls: 2, seconds: 86_400 }] });
  const agentId = await newPayer(server.url);
  const calls = ["fay-1", "fay-2", "fay-3"].map((to) => `call bank__look_up ${JSON.stringify({ to })}`).join("\n");
  assert.match(JSON.stringify((await say(server.url, agentId, calls)).messages), /may call it 2 times in 86400 s\. Try again in \d+ s/);
  assert.equal(bank.paid().filter((to) => to.startsWith("fay-")).length, 2);
});

test("Calls over a tool's concurrency wait, and an agent with many lets others between", async () => {
  await policy(server.url, { limits: [{ tool: "bank__look_up", concurrency: 1 }] });
  const [many, one] = [await newPayer(server.url), await newPayer(server.url)];
  const arrivals: string[] = [];
  const mayGo: (() => void)[] = [];
  bank.gate = async ({ input }) => {
    arrivals.push(String(input["to"]));
    await new Promise<void>((resolve) => mayGo.push(resolve));
  };
  const lines = Array.from({ length: 8 }, (_, index) => `call bank__look_up ${JSON.stringify({ to: `many-${index}` })}`);
  const all = [say(server.url, many, lines.join("\n"))];
  await until(() => arrivals.length === 1);
  all.push(say(server.url, one, 'call bank__look_up {"to":"one"}'));
  await until(async () => {
    const [run] = await request<{ readonly id: string }[]>(server.url, "GET", `/v1/runs?agent_id=${one}`);
    const effects = run === undefined ? [] : await request<{ readonly state: string }[]>(server.url, "GET", `/v1/runs/${run.id}/effects`);
    return effects.some(({ state }) => state === "started");
  });
  for (let count = 1; count <= 9; count++) {
    await until(() => arrivals.length >= count);
    assert.equal(mayGo.length, 1, "one at a time");
    mayGo.shift()!();
  }
  await Promise.all(all);
  bank.gate = async () => {};
  assert.ok(
    arrivals.indexOf("one") < 6,
    `The one call of the second agent was number ${arrivals.indexOf("one") + 1} of ${arrivals.length}`,
  );
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5);
}

test("kelpie policy and kelpie approvals do all of it from a terminal", async () => {
  const agentId = await newPayer(server.url);
  const run = async (args: readonly string[], input?: string): Promise<string> => {
    const outcome = await kelpie([...args, "--server", server.url], input === undefined ? {} : { input });
    assert.equal(outcome.code, 0, outcome.notes);
    return outcome.output;
  };
  await policy(server.url, {});
  await run(["policy", "set", "-", "--agent", agentId], JSON.stringify({ rules: askForPayments }));
  assert.match(await run(["policy", "show", "--agent", agentId]), /^ask +bank__pay/m);
  const printed = JSON.parse(await run(["policy", "show", "--json"])) as { readonly version: number };
  assert.match(await run(["policy", "set", "-"], JSON.stringify(printed)), new RegExp(`^Version ${printed.version}\\.`));
  const stale = await kelpie(["policy", "set", "-", "--server", server.url], {
    input: JSON.stringify({ rules: askForPayments, version: 0 }),
  });
  assert.deepEqual([stale.code, /somebody has changed it/.test(stale.notes)], [1, true]);

  const first = await askedFor(server.url, agentId, "gil");
  const meanwhile = await kelpie(["chat", "--agent", agentId, "-m", "Hello", "--server", server.url]);
  assert.deepEqual([meanwhile.code, /waiting for approval.*\nkelpie approvals list --agent/.test(meanwhile.notes)], [1, true]);
  assert.match(await run(["approvals"]), new RegExp(`^${first.id} +${agentId} .*bank__pay\\(\\{"to":"gil"`, "m"));
  assert.match(await run(["approvals", "show", first.id]), /bank__pay {2}\S+ {2}waits for approval\n\{\n {2}"to": "gil",/);
  const went = await run(["approvals", "approve", first.id]);
  await run(["runs", "follow", /run-[0-9a-f-]+/.exec(went)![0]]);
  assertPaidOnce("gil");
  const second = await askedFor(server.url, agentId, "hal");
  const denied = JSON.parse(await run(["approvals", "deny", second.id, "--reason", "Not today", "--json"])) as { readonly id: string };
  assert.match(await run(["runs", "follow", denied.id]), /Not today/);
  await say(server.url, agentId, `${pay("ivy")}\n${pay("joe")}`);
  const [both] = await request<Approval[]>(server.url, "GET", `/v1/approvals?agent_id=${agentId}`);
  const onlyFirst = await run(["approvals", "approve", both!.id, "--call", both!.calls[0]!.tool_call_id, "--json"]);
  await run(["runs", "follow", (JSON.parse(onlyFirst) as { readonly id: string }).id]);
  assertPaidOnce("ivy");
  assert.deepEqual(
    bank.paid().filter((to) => to === "hal" || to === "joe"),
    [],
  );
  assert.equal(await run(["approvals", "list", "--agent", agentId]), "Nothing waits for approval.\n");
  const gone = await kelpie(["approvals", "approve", both!.id, "--server", server.url]);
  assert.deepEqual([gone.code, /does not wait for an approval any more/.test(gone.notes)], [1, true]);
});

test("What was asked for at a node that was killed is approved through another one", { skip: postgresMissing ?? false }, async () => {
  await using postgres = await PostgresServer.start();
  const shared = { ...variables, KELPIE_STORE: postgres.passwordAddress("right"), KELPIE_CLUSTER_SECRET: "a-secret-of-this-test" };
  await using node1 = await ServerProcess.start({ ...shared, KELPIE_NODE: "node1" });
  await using node2 = await ServerProcess.start({ ...shared, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url });
  for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
  await addBank(node1.url);
  await policy(node1.url, { rules: askForPayments });
  // One whose conversation is at node1.
  let agentId: string;
  for (let isThere = false; !isThere;) {
    const { actors } = await clusterAt(node1.url);
    agentId = await newPayer(node1.url);
    await say(node2.url, agentId, "Count to 1");
    isThere = (await clusterAt(node1.url)).actors > actors;
  }
  const asked = await askedFor(node1.url, agentId!, "kim");
  await node1.kill();
  figures.kills++;
  assert.deepEqual(await request<Approval>(node2.url, "GET", `/v1/approvals/${asked.id}`), asked);
  assert.deepEqual(await decide(node2.url, asked, { approve: true, hash: asked.hash }), ["paid kim"]);
  assertPaidOnce("kim");
  await node1.restart();
  assert.deepEqual(await membersAt(node1.url, 2), ["node1 up", "node2 up"]);
  for (const { url } of [node1, node2]) await refused(409, /does not wait/, decide(url, asked, { approve: true, hash: asked.hash }));
  assert.deepEqual(bank.paid("kim"), ["kim"]);
});

test("Every payment was approved or allowed", (t) => {
  const payments = bank.calls.filter(({ tool }) => tool === "pay").length;
  assert.equal(payments, figures.approved + figures.allowed);
  t.diagnostic(
    `approvals: ${payments} calls made, ${figures.approved} approved and ${figures.allowed} allowed; ${figures.refused} replayed, late, altered or second approvals refused; ${figures.kills} kills`,
  );
});
