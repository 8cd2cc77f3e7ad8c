import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { EgressProxy } from "../../sandbox/egress-proxy.ts";
import { SandboxUnavailableError } from "../../sandbox/sandbox.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import { UnisolatedBackend } from "../../sandbox/unisolated-backend.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { newTool, type ToolRecord } from "../tool-record.ts";
import type { ToolResult } from "../tool.ts";
import { Packages } from "./packages.ts";
import { registryOf } from "./registries.ts";
import type { Language } from "./requirements.ts";
import { SourceTools } from "./source-tools.ts";
import { TestRegistry } from "./testing.ts";
import { ToolSandboxes } from "./tool-sandboxes.ts";

const environment = new RealEnvironment({ level: "error", write: () => undefined });
const context = { effectId: "effect-1", project: "p", agentId: "agent-1", conversationId: "default", secrets: {} };
const programs = { python: "pip", typescript: "npm" } as const;

/** A tool that gives what a package says. */
function using(language: Language, name: string, version: string, source?: string): ToolRecord {
  const requirements = [{ name, version }];
  if (language === "python") {
    const source_code = source ?? `def work():\n    """Works."""\n    import ${name}\n    return ${name}.said\n`;
    return { ...newTool(environment, { source_code }), pip_requirements: requirements };
  }
  const source_code = source ?? `import said from "${name}";\nexport const work = () => said;\n`;
  const json_schema = { name: "work", parameters: { type: "object", properties: {} } };
  return { ...newTool(environment, { source_type: "typescript", source_code, json_schema }), npm_requirements: requirements };
}

/** Why packages cannot be installed here. */
function missing(language: Language): string | undefined {
  const [program, ...words] = language === "python" ? ["/usr/bin/python3", "-m", "pip", "--version"] : ["/usr/bin/npm", "--version"];
  try {
    execFileSync(program!, words, { stdio: "ignore" });
    return bubblewrapMissing;
  } catch {
    return `${programs[language]} is not here`;
  }
}

for (const language of ["python", "typescript"] as const)
  describe(`Packages of ${programs[language]}`, { skip: missing(language) ?? false }, () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-packages-"));
    const egress = new EgressProxy({ environment, lookup: () => Promise.resolve(["127.0.0.1"]) });
    const sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment, egress }) });
    let registry: TestRegistry;
    before(async () => {
      registry = await TestRegistry.start();
      if (language === "python") registry.addWheel("greeting", "1.0.0", "said = 'hello'\n");
      else registry.addNpm("greeting", "1.0.0", {}, "module.exports = 'hello';");
    });
    after(async () => {
      await sandboxes[Symbol.asyncDispose]();
      registry[Symbol.dispose]();
      rmSync(folder, { recursive: true });
    });
    let installations = 0;
    /** As a process of its own has them. */
    const openTools = (): SourceTools => {
      const counted = (): Promise<ReturnType<typeof registry.of>> => {
        installations++;
        return Promise.resolve(registry.of(language));
      };
      const packages = new Packages({ environment, sandboxes, folder, registryOf: counted });
      return new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
    };
    const { signal } = new AbortController();
    const call = async (tools: SourceTools, record: ToolRecord, within = signal): Promise<ToolResult> =>
      await tools.tool(record)!.execute({}, { ...context, signal: within });
    const installed = (): readonly string[] => readdirSync(folder);

    test("Code has its packages, which are installed once, also for two calls at once and for the next process", async () => {
      const record = using(language, "greeting", "1.0.0");
      const tools = openTools();
      const results = await Promise.all([call(tools, record), call(tools, record), call(tools, record)]);
      assert.deepEqual(
        results.map(({ text }) => text),
        ["hello", "hello", "hello"],
      );
      assert.equal(installations, 1);
      assert.equal((await call(openTools(), record)).text, "hello");
      assert.equal(installations, 1);
    });

    test("Nothing of a package runs while it is installed", async () => {
      if (language === "python") {
        registry.addSourceDistribution("scripted", "1.0.0", "open('/workspace/packages/ran', 'w')\n");
        const result = await call(openTools(), using(language, "scripted", "1.0.0"));
        assert.match(result.text, /Cannot install scripted==1\.0\.0/);
      } else {
        const source = "module.exports = require('node:fs').existsSync(__dirname + '/ran') ? 'ran' : 'did not run';";
        registry.addNpm("scripted", "1.0.0", { scripts: { install: "touch ran", postinstall: "touch ran" } }, source);
        assert.equal((await call(openTools(), using(language, "scripted", "1.0.0"))).text, "did not run");
      }
    });

    test("A version or a package that is not there is a result that says so, and leaves nothing", async () => {
      const before = installed();
      for (const name of ["greeting", "nothing-of-that-name"]) {
        const result = await call(openTools(), using(language, name, "99.0.0", language === "python" ? "def work(): pass" : "0"));
        assert.equal(result.status, "error");
        assert.match(result.text, new RegExp(`did not run: Cannot install ${name}(==|@)99\\.0\\.0: [\\s\\S]*${name}`));
      }
      assert.deepEqual(installed(), before);
    });

    test("A tool has Letta's client where the package and a key of the agent's secrets are there, and none otherwise", async () => {
      if (language === "python")
        registry.addWheel(
          "letta_client",
          "1.0.0",
          "class Letta:\n    def __init__(self, api_key, base_url=None):\n        self.key = api_key\n",
        );
      else
        registry.addNpm(
          "@letta-ai/letta-client",
          "1.0.0",
          {},
          "module.exports = class { constructor({ apiKey }) { this.key = apiKey; } };",
        );
      const sources =
        language === "python"
          ? ["def work():\n    return client and client.key", "def work(client=None):\n    return client and client.key"]
          : ["export const work = () => client && client.key"];
      for (const source of sources) {
        const record = using(language, language === "python" ? "letta_client" : "@letta-ai/letta-client", "1.0.0", source);
        const tool = openTools().tool(record)!;
        const secrets = { LETTA_API_KEY: "the-key-of-a-server" };
        assert.equal((await tool.execute({}, { ...context, secrets, signal })).text, "the-key-of-a-server");
        assert.equal((await tool.execute({}, { ...context, signal })).text, "null");
        const without = { ...record, pip_requirements: null, npm_requirements: null };
        assert.equal(
          (
            await openTools()
              .tool(without)!
              .execute({}, { ...context, secrets, signal })
          ).text,
          "null",
        );
      }
    });

    // What follows does not depend on the language.
    if (language === "typescript") return;

    test("Two processes that install the same at once both have it", async () => {
      const [one, other] = [openTools(), openTools()];
      // Another set: the package is the same.
      const record = using(language, "greeting", ">=1");
      const results = await Promise.all([call(one, record), call(other, record)]);
      assert.deepEqual(
        results.map(({ text }) => text),
        ["hello", "hello"],
      );
      assert.equal(installed().filter((name) => name.startsWith("partial-")).length, 0);
    });

    test("An installation goes on when the call that asked for it is given up", async () => {
      const record = using(language, "greeting", "~=1.0");
      const tools = openTools();
      const giveUp = new AbortController();
      const counted = installations;
      const given = call(tools, record, giveUp.signal);
      const waiting = call(tools, record);
      setImmediate(() => giveUp.abort(new Error("given up")));
      await assert.rejects(given, /given up/);
      assert.equal((await waiting).text, "hello");
      assert.equal(installations, counted + 1);
    });

    test("What a process that was killed has left half installed is removed, and what another installs is left alone", async () => {
      const killed = join(folder, "partial-4194305-of-a-process-that-is-gone"); // More than Linux numbers processes.
      const running = join(folder, `partial-${process.pid}-of-one-that-runs`);
      mkdirSync(join(killed, "packages"), { recursive: true });
      mkdirSync(running);
      await call(openTools(), using(language, "greeting", "<2"));
      assert.deepEqual([existsSync(killed), existsSync(running)], [false, true]);
      rmSync(running, { recursive: true });
    });
  });

for (const [what, openBackend, unisolatedAllowed, text] of [
  ["Without a sandbox", () => Promise.reject(new SandboxUnavailableError("install bubblewrap")), false, /did not run: install bubblewrap/],
  ["Without isolation", () => Promise.resolve(new UnisolatedBackend({ environment })), true, /packages are installed in sandboxes only/],
] as const)
  test(`${what} no packages are installed, and the result says so`, async () => {
    await using sandboxes = new ToolSandboxes({ environment, openBackend, unisolatedAllowed });
    const packages = new Packages({ environment, sandboxes, folder: "/nonexistent", registryOf });
    const tools = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
    const { signal } = new AbortController();
    const result = await tools.tool(using("python", "six", "1.0"))!.execute({}, { ...context, signal });
    assert.equal(result.status, "error");
    assert.match(result.text, text);
  });

for (const [language, name, version, source, text] of [
  ["python", "six", "1.16.0", 'def work():\n    """Works."""\n    import six\n    return six.__version__\n', "1.16.0"],
  ["typescript", "ms", "2.1.3", 'import ms from "ms";\nexport const work = (): string => ms(60_000);\n', "1m"],
] as const) {
  const isThere = missing(language) === undefined && (await answers(language));
  test(
    `Packages come from the registry that this host's ${programs[language]} asks`,
    { skip: isThere ? false : "It does not answer" },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "kelpie-packages-"));
      await using sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });
      try {
        const packages = new Packages({ environment, sandboxes, folder, registryOf });
        const tools = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
        const { signal } = new AbortController();
        assert.equal((await tools.tool(using(language, name, version, source))!.execute({}, { ...context, signal })).text, text);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );
}

async function answers(language: Language): Promise<boolean> {
  try {
    await fetch((await registryOf(language)).url, { method: "HEAD", signal: AbortSignal.timeout(2_000) });
    return true;
  } catch {
    return false;
  }
}
