import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { newTool, type ToolRecord } from "../tool-record.ts";
import type { ToolResult } from "../tool.ts";
import { type Language, PackageError, Packages } from "./packages.ts";
import { registryOf } from "./registries.ts";
import { SourceTools } from "./source-tools.ts";
import { ToolSandboxes } from "./tool-sandboxes.ts";

const environment = new RealEnvironment({ level: "error", write: () => undefined });
const context = { effectId: "effect-1", project: "p", agentId: "agent-1", conversationId: "default", secrets: {} };
const { signal } = new AbortController();

const records: { readonly [language in Language]: ToolRecord } = {
  python: {
    ...newTool(environment, { source_code: 'def work():\n    """Works."""\n    import six\n    return six.__version__\n' }),
    pip_requirements: [{ name: "six", version: "1.16.0" }],
  },
  typescript: {
    ...newTool(environment, {
      source_type: "typescript",
      source_code: 'import ms from "ms";\nexport const work = (): string => ms(60_000);\n',
      json_schema: { name: "work", parameters: { type: "object", properties: {} } },
    }),
    npm_requirements: [{ name: "ms", version: "2.1.3" }],
  },
};

/** Why packages cannot be had here. */
async function missing(language: Language): Promise<string | undefined> {
  if (bubblewrapMissing !== undefined) return bubblewrapMissing;
  try {
    execFileSync(language === "python" ? "python3" : "npm", language === "python" ? ["-m", "pip", "--version"] : ["--version"]);
    await fetch((await registryOf(language)).url, { method: "HEAD", signal: AbortSignal.timeout(5_000) });
    return undefined;
  } catch (error) {
    return `Packages for ${language} are not to be had here: ${String(error)}`;
  }
}

for (const [language, version, program] of [
  ["python", "1.16.0", "pip"],
  ["typescript", "1m", "npm"],
] as const)
  describe(`Packages of ${program}, from its registry`, { skip: (await missing(language)) ?? false }, () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-packages-"));
    const sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });
    after(async () => {
      await sandboxes[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    });
    let installations = 0;
    const counted = async (of: Language): ReturnType<typeof registryOf> => {
      installations++;
      return await registryOf(of);
    };
    const packages = new Packages({ environment, sandboxes, folder, registryOf: counted });
    const tools = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
    const call = async (record: ToolRecord): Promise<ToolResult> => await tools.tool(record)!.execute({}, { ...context, signal });

    test("Code has its packages, which are installed once, also for two calls at once and for the next process", async () => {
      const record = records[language];
      const results = await Promise.all([call(record), call(record)]);
      assert.deepEqual(
        results.map(({ text }) => text),
        [version, version],
      );
      assert.equal(installations, 1);
      const another = new Packages({ environment, sandboxes, folder, registryOf: () => Promise.reject(new Error("It is there already")) });
      const later = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages: another });
      assert.equal((await later.tool(record)!.execute({}, { ...context, signal })).text, version);
    });

    test("A version that is not there is a result that says so, and leaves nothing", async () => {
      const before = readdirSync(folder);
      const nowhere = [{ name: language === "python" ? "six" : "ms", version: "99.0.0" }];
      const result = await call({ ...records[language], pip_requirements: nowhere, npm_requirements: nowhere });
      assert.equal(result.status, "error");
      assert.match(result.text, /^work did not run: Cannot install \w+(==|@)99\.0\.0: [\s\S]*99\.0\.0/);
      assert.deepEqual(readdirSync(folder), before);
    });
  });

test("There are only so many requirements", async () => {
  await using sandboxes = new ToolSandboxes({ environment, openBackend: () => Promise.reject(new PackageError("none")) });
  const packages = new Packages({ environment, sandboxes, folder: "/nonexistent", registryOf });
  const tools = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
  const many = Array.from({ length: 500 }, (_, at) => ({ name: `p${at}` }));
  const result = await tools.tool({ ...records.python, pip_requirements: many })!.execute({}, { ...context, signal });
  assert.match(result.text, /did not run: Its requirements are a list of at most 50 packages/);
});
