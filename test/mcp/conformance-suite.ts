/** The official conformance suite of the Model Context Protocol, run on Kelpie's client and server code, and read. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installed } from "./installed.ts";

export type Revision = "2025-11-25" | "2026-07-28";
export const revisions: readonly Revision[] = ["2025-11-25", "2026-07-28"];

export interface Scenario {
  readonly name: string;
  readonly passed: boolean;
  /** Counts for conformance; others are extensions, or newer than the revision. */
  readonly isScored: boolean;
  readonly checks: number;
}

const noExtension = "an extension of the protocol, which Kelpie does not have";
const forPerson = `${noExtension}: it acts for a person, who agrees in a browser`;
const noSession =
  "Kelpie keeps no sessions, so that any node answers any request, also after a restart: in this revision nothing can be asked or told outside of an answer without one. Kelpie's own tools do neither";

type Reasons = Readonly<Record<string, string>>;

/** Scenarios that do not pass, and why. One that passes is to be taken off. */
export const reasons: { readonly client: Readonly<Record<Revision, Reasons>>; readonly server: Readonly<Record<Revision, Reasons>> } = {
  client: {
    "2025-11-25": clientReasons(),
    "2026-07-28": clientReasons(),
  },
  server: {
    "2025-11-25": named(noSession, [
      "tools-call-sampling",
      "tools-call-elicitation",
      "elicitation-sep1034-defaults",
      "elicitation-sep1330-enums",
      "resources-subscribe",
      "resources-unsubscribe",
    ]),
    "2026-07-28": {
      "http-custom-header-server-validation": "Kelpie's tools take no arguments from headers",
      ...named(noExtension, [
        "tasks-lifecycle",
        "tasks-capability-negotiation",
        "tasks-wire-fields",
        "tasks-request-state-removal",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-dispatch-and-envelope",
        "tasks-required-task-error",
        "tasks-mrtr-composition",
      ]),
    },
  },
};

/** Scenarios that need nothing of the suite's own: those that a server of agents, which has no prompts, can be asked. */
export const ownScenarios: Readonly<Record<Revision, readonly string[]>> = {
  "2025-11-25": ["server-initialize", "ping", "tools-list", "resources-list", "dns-rebinding-protection"],
  "2026-07-28": [
    "tools-list",
    "resources-list",
    "sep-2164-resource-not-found",
    "http-header-validation",
    "input-required-result-unsupported-methods",
    "dns-rebinding-protection",
  ],
};

export async function testClient(revision: Revision): Promise<readonly Scenario[]> {
  const client = `${process.execPath} ${join(import.meta.dirname, "conformance-client.ts")}`;
  return await run(["client", "--command", client, "--requirements", revision, "--timeout", "120000"]);
}

/** Against Kelpie's endpoint with the suite's tools. */
export async function testServer(revision: Revision): Promise<readonly Scenario[]> {
  const server = spawn(process.execPath, [join(import.meta.dirname, "conformance-server.ts")], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(server, "exit");
  try {
    const address = await Promise.race([
      once(server.stdout.setEncoding("utf8"), "data").then(([line]) => String(line).trim()),
      ended.then(() => Promise.reject(new Error("The server under test ended before it listened"))),
    ]);
    return await run(["server", "--url", address, "--requirements", revision]);
  } finally {
    server.kill();
    await ended;
  }
}

/** Against the `/mcp` of a Kelpie. */
export async function testOwnServer(url: string, revision: Revision): Promise<readonly Scenario[]> {
  const found: Scenario[] = [];
  for (const name of ownScenarios[revision]) {
    const output = await runSuite(["server", "--url", `${url}/mcp`, "--scenario", name, "--spec-version", revision]);
    const [, passed, all] = /^Passed: (\d+)\/(\d+)/m.exec(output) ?? [];
    found.push({ name, passed: passed !== undefined && passed !== "0" && passed === all, isScored: true, checks: Number(passed ?? 0) });
  }
  return found;
}

async function run(options: readonly string[]): Promise<readonly Scenario[]> {
  const output = await runSuite(options);
  const unscored = new Set([...output.matchAll(/^ +[✓✗] (\S+) \(/gm)].map(([, name]) => name!));
  return [...output.matchAll(/^([✓✗]) (\S+): (\d+) passed/gm)].map(([, mark, name, count]) => ({
    name: name!,
    passed: mark === "✓",
    isScored: !unscored.has(name!),
    checks: Number(count),
  }));
}

async function runSuite(options: readonly string[]): Promise<string> {
  const suite = await installed("@modelcontextprotocol/conformance/dist/index.js");
  const results = mkdtempSync(join(tmpdir(), "kelpie-conformance-"));
  try {
    return await new Promise<string>((resolve) => {
      // Its exit code says what its summary does, and there is more in that.
      execFile(process.execPath, [suite, ...options, "-o", results], { maxBuffer: 100_000_000 }, (_, stdout) => resolve(stdout));
    });
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

/** What is to be printed of a run, and whether all is as it should be: what failed has a reason, and what has one failed. */
export function judge(
  title: string,
  scenarios: readonly Scenario[],
  because: Reasons,
): { readonly isGood: boolean; readonly text: string } {
  const scored = scenarios.filter(({ isScored }) => isScored);
  const checks = scenarios.reduce((sum, each) => sum + each.checks, 0);
  const summary = `${title}: passed ${scored.filter(({ passed }) => passed).length} of ${scored.length} scenarios, ${checks} checks`;
  const unexpected = scenarios.filter(({ name, passed }) => passed === (because[name] !== undefined));
  const lines = scenarios.flatMap(({ name, passed, isScored }) => {
    const reason = because[name];
    if (passed) return reason === undefined ? [] : [`  passed: ${name}, though there is a reason that it would not`];
    return [`  not passed: ${name}${isScored ? "" : " (not scored)"}: ${reason ?? "NO REASON IS KNOWN"}`];
  });
  return { isGood: unexpected.length === 0 && scored.length > 0, text: [summary, ...lines].join("\n") };
}

function clientReasons(): Reasons {
  return {
    ...named(forPerson, ["auth/client-credentials-jwt", "auth/client-credentials-basic"]),
    ...named(noExtension, ["auth/enterprise-managed-authorization", "auth/dpop", "auth/dpop-nonce", "auth/wif-jwt-bearer"]),
  };
}

function named(reason: string, scenarios: readonly string[]): Reasons {
  return Object.fromEntries(scenarios.map((name) => [name, reason]));
}
