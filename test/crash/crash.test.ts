/** The short form of `npm run test:crash`: kills while calls are under way that leave through an MCP server and a sandbox. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { bubblewrapMissing } from "../../src/sandbox/testing.ts";

interface Report {
  readonly kills: number;
  readonly acknowledged: number;
  readonly calls: { readonly inProcess: number; readonly mcp: number; readonly http: number };
  readonly effectsRepeated: number;
  readonly effectsUnknown: number;
  readonly effectsSettled: number;
  readonly problems: readonly string[];
}

test("A server that is killed in the middle of calls repeats none of which it may not be said, and what is unknown is settled", async (t) => {
  const moments = ["tool-counted of MCP", "before-tool", ...(bubblewrapMissing === undefined ? ["tool-counted over HTTP"] : [])];
  const options = { kills: moments.length, moments: moments.join(","), clients: 6, agents: 6, seed: 1 };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), "--json", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const report = JSON.parse(await text(child.stdout)) as Report;
  assert.deepEqual(report.problems, []);
  assert.equal(report.kills, moments.length);
  assert.equal(report.effectsRepeated, 0);
  assert.equal(report.effectsSettled, report.effectsUnknown);
  assert.ok(report.calls.mcp > 0 && report.calls.inProcess > 0);
  if (bubblewrapMissing === undefined) assert.ok(report.calls.http > 0);
  const { calls } = report;
  t.diagnostic(
    `kills ${report.kills}, calls ${calls.inProcess} in the process, ${calls.mcp} of an MCP server, ${calls.http} over HTTP from a sandbox${bubblewrapMissing === undefined ? "" : ` (not run: ${bubblewrapMissing})`}, ` +
      `repeats of undeclared effects ${report.effectsRepeated}, unknown ${report.effectsUnknown}, settled ${report.effectsSettled}`,
  );
});
