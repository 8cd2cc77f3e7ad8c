/**
 * The official conformance suite of the Model Context Protocol, run on Kelpie's own client code, for both revisions that are
 * spoken. Prints which scenarios passed, and why others did not.
 *
 *     npm run test:mcp-conformance
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installed } from "./installed.ts";

const noExtension = "an extension of the protocol, which Kelpie does not have";
/** Scenarios that do not pass. One that passes is to be taken off. */
const reasons: Readonly<Record<string, string>> = {
  "auth/client-credentials-jwt": `${noExtension}: it acts for a person, who agrees in a browser`,
  "auth/client-credentials-basic": `${noExtension}: it acts for a person, who agrees in a browser`,
  "auth/enterprise-managed-authorization": noExtension,
  "auth/dpop": noExtension,
  "auth/dpop-nonce": noExtension,
  "auth/wif-jwt-bearer": noExtension,
};

let isGood = true;
for (const revision of ["2025-11-25", "2026-07-28"]) {
  const { scored, others, checks } = await run(revision);
  console.log(
    `\nClient, ${revision}: ${scored.filter(({ passed }) => passed).length} of ${scored.length} scored scenarios passed, ${checks} checks`,
  );
  for (const { name, passed } of [...scored, ...others]) {
    const reason = reasons[name];
    if (passed && reason !== undefined) isGood = false;
    if (!passed) console.log(`  not passed: ${name}: ${reason ?? "no reason is known"}`);
    if (!passed && reason === undefined) isGood = false;
    if (passed && reason !== undefined) console.log(`  passed: ${name}, though there is a reason that it would not`);
  }
  if (scored.length === 0) isGood = false;
}
process.exitCode = isGood ? 0 : 1;

interface Scenario {
  readonly name: string;
  readonly passed: boolean;
}

async function run(
  revision: string,
): Promise<{ readonly scored: readonly Scenario[]; readonly others: readonly Scenario[]; readonly checks: number }> {
  const suite = await installed("@modelcontextprotocol/conformance/dist/index.js");
  const results = mkdtempSync(join(tmpdir(), "kelpie-conformance-"));
  const client = `${process.execPath} ${join(import.meta.dirname, "conformance-client.ts")}`;
  const options = ["client", "--command", client, "--requirements", revision, "--timeout", "120000", "-o", results];
  try {
    const output = await new Promise<string>((resolve) => {
      // Its exit code says what its summary does, and there is more in that.
      execFile(process.execPath, [suite, ...options], { maxBuffer: 100_000_000 }, (_, stdout) => resolve(stdout));
    });
    const unscored = new Set([...output.matchAll(/^ +[✓✗] (\S+) \(/gm)].map(([, name]) => name!));
    const lines = [...output.matchAll(/^([✓✗]) (\S+): (\d+) passed/gm)];
    const scenarios = lines.map(([, mark, name]) => ({ name: name!, passed: mark === "✓" }));
    return {
      scored: scenarios.filter(({ name }) => !unscored.has(name)),
      others: scenarios.filter(({ name }) => unscored.has(name)),
      checks: lines.reduce((sum, [, , , count]) => sum + Number(count), 0),
    };
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}
