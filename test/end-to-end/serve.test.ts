import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import { kelpie } from "./kelpie-command.ts";

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("serve shows its banner, answers, and ends with 0 on SIGTERM", async (t) => {
  const folder = temporaryFolder(t);
  let health: Promise<Response> | undefined;
  const { code, output } = await kelpie(["serve", "--port", "0", "--data", folder, "--discover-local", "no"], {
    watch: (text, child) => {
      const url = /ready at (http:\S+)/.exec(text)?.[1];
      if (url === undefined || !text.includes("Ctrl-C") || health !== undefined) return;
      health = fetch(`${url}/v1/health/`);
      void health.finally(() => child.kill("SIGTERM"));
    },
  });
  assert.equal((await health)?.status, 200);
  assert.equal(code, 0);
  assert.match(output, /kelpie\/demo {2}\(not a language model/);
  assert.ok(existsSync(join(folder, "kelpie.db")));
});

test("A server with a key asks for it", async () => {
  await using server = await ServerProcess.start({ KELPIE_API_KEY: "a-long-secret" });
  assert.equal((await fetch(`${server.url}/v1/agents/`)).status, 401);
  assert.equal((await fetch(`${server.url}/v1/agents/`, { headers: { authorization: "Bearer a-long-secret" } })).status, 200);
  const refused = await kelpie(["agents", "list", "--server", server.url]);
  assert.equal(refused.code, 1);
  assert.match(refused.notes, /KELPIE_API_KEY/);
  const accepted = await kelpie(["agents", "list", "--server", server.url], { variables: { KELPIE_API_KEY: "a-long-secret" } });
  assert.equal(accepted.code, 0);
});

test("A start that cannot work says why in one line, and ends with its exit code", async (t) => {
  const folder = temporaryFolder(t);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  t.after(() => taken.close());
  const port = String((taken.address() as AddressInfo).port);
  const foreign = temporaryFolder(t);
  writeFileSync(join(foreign, "kelpie.db"), "this is not a database, but somebody's diary ".repeat(100));
  const locked = temporaryFolder(t);
  chmodSync(locked, 0o500);

  const cases: readonly (readonly [args: readonly string[], variables: Readonly<Record<string, string>>, code: number, note: RegExp])[] = [
    [["--port", port, "--data", folder], {}, 1, /the port is in use.*--port/],
    [["--port", "0", "--data", foreign], {}, 1, /kelpie\.db/],
    [["--host", "0.0.0.0", "--port", "0", "--data", folder], {}, 1, /without a key.*KELPIE_API_KEY/],
    [["--port", "many"], {}, 2, /--port must be a whole number from 0 to 65535, not "many"/],
    [[], { KELPIE_PROT: "1" }, 2, /There is no setting KELPIE_PROT\. Did you mean KELPIE_PORT\?/],
    // The superuser may write everywhere.
    ...(process.getuid?.() === 0 ? [] : [[["--port", "0", "--data", locked], {}, 1, /kelpie\.db/] as const]),
  ];
  for (const [args, variables, code, note] of cases) {
    const outcome = await kelpie(["serve", ...args], { variables });
    assert.equal(outcome.code, code, `${args.join(" ")}: ${outcome.notes}`);
    assert.match(outcome.notes, note);
    assert.doesNotMatch(outcome.notes, /^\s+at /m, "There is no stack trace");
  }
});

test("A setting of Letta V1 that means nothing here is named, and the server starts", async (t) => {
  const { notes, code } = await kelpie(["serve", "--port", "0", "--data", temporaryFolder(t), "--json"], {
    variables: { LETTA_PG_URI: "postgresql://letta:letta@localhost/letta" },
    watch: (_text, child) => child.kill("SIGINT"),
  });
  assert.match(notes, /LETTA_PG_URI is ignored: Kelpie keeps everything in its own store file/);
  assert.doesNotMatch(notes, /letta:letta/);
  assert.equal(code, 0);
});

test("doctor finds a fresh machine in order, and a damaged store a problem", async (t) => {
  const folder = temporaryFolder(t);
  const settings = ["--port", "0", "--data", folder, "--discover-local", "no"];
  const fresh = await kelpie(["doctor", ...settings]);
  assert.equal(fresh.code, 0, fresh.output);
  assert.match(fresh.output, /✔ store .*kelpie\.db will be made/);
  assert.match(fresh.output, /(✔ sandbox .*ran a command|• sandbox .*untrusted code is refused)/);
  assert.ok(!existsSync(join(folder, "kelpie.db")), "Looking makes nothing");
  writeFileSync(join(folder, "kelpie.db"), "somebody's diary ".repeat(100));
  const damaged = await kelpie(["doctor", ...settings, "--json"], {
    variables: { OPENAI_API_KEY: "sk-do-not-print-me", OPENAI_API_BASE: "http://127.0.0.1:64999/v1" },
  });
  assert.equal(damaged.code, 1);
  assert.ok(
    (JSON.parse(damaged.output) as { subject: string; state: string }[]).some(
      ({ subject, state }) => subject === "store" && state === "problem",
    ),
  );
  assert.doesNotMatch(damaged.output + damaged.notes, /sk-do-not-print-me/);
});

test("Who waits for an answer hears of a stop, and the run is finished after the next start", async () => {
  await using server = await ServerProcess.start({ KELPIE_DEMO_TOKEN_MILLISECONDS: "5" });
  const post = async (path: string, body: unknown): Promise<Response> =>
    await fetch(server.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const runsOf = async (id: string): Promise<{ readonly status: string }[]> =>
    (await (await fetch(`${server.url}/v1/runs/?agent_id=${id}`)).json()) as { readonly status: string }[];
  const agent = (await (await post("/v1/agents/", { model: "kelpie/demo", memory_blocks: [] })).json()) as { readonly id: string };
  const waiting = post(`/v1/agents/${agent.id}/messages`, { messages: [{ role: "user", content: "Count to 600" }] });
  while ((await runsOf(agent.id)).length === 0);
  const stopped = server.stop();
  const answer = await waiting;
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get("x-should-retry"), "false");
  assert.match(await answer.text(), /the run goes on at its next start/);
  assert.equal(await stopped, 0);
  await server.restart();
  let [run] = await runsOf(agent.id);
  while (run!.status === "running" || run!.status === "created") [run] = await runsOf(agent.id);
  assert.equal(run!.status, "completed");
});
