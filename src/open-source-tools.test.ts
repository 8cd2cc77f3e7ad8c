/** Which isolation the code of tools gets, on hosts that have one and hosts that do not. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { RealEnvironment } from "./environment/real-environment.ts";
import { openSourceTools } from "./open-source-tools.ts";
import { bubblewrapMissing } from "./sandbox/testing.ts";
import { MemoryStore } from "./storage/memory-store.ts";
import type { OutsideTool, ToolResult } from "./tools/tool.ts";
import { newTool } from "./tools/tool-record.ts";

const logged: string[] = [];
const environment = new RealEnvironment({ write: (line) => void logged.push(line) });
const folder = mkdtempSync(join(tmpdir(), "kelpie-source-tools-"));
after(() => rmSync(folder, { recursive: true }));

/** Looks for a file of the host that no sandbox shows. */
const source_code = `def work():\n    """Works."""\n    import os\n    return os.path.exists(${JSON.stringify(folder)})\n`;

async function call(unisolatedAllowed: boolean): Promise<{ readonly result: ToolResult; readonly tool: OutsideTool }> {
  await using tools = openSourceTools({ store: new MemoryStore(), environment, folder, unisolatedAllowed });
  const tool = tools.source(newTool(environment, { source_code })) as OutsideTool;
  const context = { effectId: "effect-1", project: "p", agentId: "agent-1", conversationId: "default", secrets: {} };
  return { tool, result: await tool.execute({}, { ...context, signal: new AbortController().signal }) };
}

beforeEach(() => void logged.splice(0));

test("Code is isolated where that is to be had, also where it need not be", { skip: bubblewrapMissing ?? false }, async () => {
  for (const unisolatedAllowed of [false, true]) {
    assert.equal((await call(unisolatedAllowed)).result.text, "false");
    assert.deepEqual(logged, []);
  }
  // What is left is the folder of all sandboxes, empty.
  assert.deepEqual(readdirSync(join(folder, "sandboxes")), []);
});

describe("On a host that cannot isolate code", () => {
  const path = process.env["PATH"];
  // All that Kelpie itself looks for there.
  const programs = mkdtempSync(join(tmpdir(), "kelpie-programs-"));
  for (const program of ["rm", "chmod"]) symlinkSync(`/bin/${program}`, join(programs, program));
  after(() => rmSync(programs, { recursive: true }));
  beforeEach(() => void (process.env["PATH"] = programs));
  afterEach(() => void (process.env["PATH"] = path));

  test("it does not run, and the result says what to do", async () => {
    const { result } = await call(false);
    assert.equal(result.status, "error");
    assert.match(result.text, /did not run: .*install the package bubblewrap; see kelpie doctor/);
  });

  test("it runs if the owner has allowed it, and the log says so", async () => {
    const { result, tool } = await call(true);
    assert.deepEqual(result, { status: "success", text: "true", stdout: "", stderr: "" });
    assert.equal(tool.effect, "once", "it reaches what it likes, so it is not called again after a crash");
    assert.equal(logged.length, 1);
    assert.match(logged[0]!, /warn.*runs without isolation, as KELPIE_UNISOLATED_TOOLS allows.*bwrap is not on the PATH/i);
  });
});
