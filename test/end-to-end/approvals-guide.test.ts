/** The examples of docs/guides/approvals.md, as they are written there. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import { actionFor, type ToolPolicy } from "../../src/tools/tool-policy.ts";
import type { ToolInput } from "../../src/tools/tool.ts";
import { clientOf } from "./cluster-client.ts";
import { kelpie } from "./kelpie-command.ts";

const guide = readFileSync(join(import.meta.dirname, "..", "..", "docs", "guides", "approvals.md"), "utf8");
const [first, own, ...further] = blocks("json").map((text) => JSON.parse(text) as ToolPolicy);

function blocks(language: string): string[] {
  return [...guide.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "gs"))].map(([, text]) => text!);
}

const calls = [...guide.matchAll(/^\| `(\w+) (\{.*\})` \| (\w+) \|$/gm)];

test("The guide has examples of everything", () => {
  assert.equal(calls.length, 8);
  assert.equal(further.length, 1);
});

for (const [, tool, input, action] of calls)
  test(`${tool} ${input} is what the guide says: ${action}`, () =>
    assert.equal(actionFor([first!.rules], tool!, JSON.parse(input!) as ToolInput), action));

test("The commands of the guide do what it says", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-guide-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await using server = await ServerProcess.start({ KELPIE_DEMO_TOKEN_MILLISECONDS: "0" });
  const client = clientOf(server.url);
  for (const policy of [...further, first!]) await client.request("PUT", "/v1/tool-policy", { body: policy });
  writeFileSync(join(folder, "policy.json"), JSON.stringify(first));
  writeFileSync(join(folder, "own.json"), JSON.stringify(own));
  const body = { name: "Ada", model: "kelpie/demo", include_base_tools: false, tools: ["run_code"] };
  const agent = await client.request<{ readonly id: string }>("POST", "/v1/agents", { body });
  const waiting = async (): Promise<readonly { readonly id: string }[]> => await client.request("GET", "/v1/approvals");
  const commands = blocks("sh").flatMap((text) => text.trim().split("\n"));
  assert.equal(commands.length, 8);
  for (const command of commands) {
    if (command.includes("$ID") && (await waiting()).length === 0)
      await client.request("POST", `/v1/agents/${agent.id}/messages`, {
        body: { input: 'call run_code {"code": "1", "language": "python"}' },
      });
    const [, line] = /^npm run kelpie -- (.*)$/.exec(command)!;
    const args = [...line!.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
    const id = (await waiting())[0]?.id ?? "";
    const outcome = await kelpie([
      ...args.map((each) => (each === "$ID" ? id : each.endsWith(".json") ? join(folder, each) : each)),
      "--server",
      server.url,
    ]);
    assert.equal(outcome.code, 0, `${command}: ${outcome.notes}`);
    if (args.includes("approve") || args.includes("deny")) await idle(server.url, agent.id);
  }
  assert.deepEqual(await waiting(), []);
});

/** Waits until the run that goes on has ended. */
async function idle(url: string, agentId: string): Promise<void> {
  const [run] = await clientOf(url).request<{ readonly id: string }[]>("GET", `/v1/runs?agent_id=${agentId}`);
  for await (const message of clientOf(url).stream(`/v1/runs/${run!.id}/stream`, {}, new AbortController().signal)) void message;
}
