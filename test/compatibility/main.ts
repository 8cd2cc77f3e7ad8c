/**
 * Released Letta clients against a real `kelpie serve`, and a list of what each did.
 *
 *     node_modules/.bin/node test/compatibility/main.ts [--folder <clients>] [words…]
 *
 * Clients are installed from the package registries into `--folder`, a temporary one by default; one that is kept is
 * used again. Words keep the clients whose names contain one of them. It is no part of `npm test`: it installs a few
 * hundred packages.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ServerProcess } from "../../examples/start-server.ts";
import { readOptions } from "../../scripts/options.ts";
import { ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import { installLettaCode, installPythonClient } from "./installed-clients.ts";
import { type Case, lettaCodeCases, lettaCodeKeyCase } from "./letta-code.ts";
import { RequestLog } from "./request-log.ts";
import { ScriptedAnswers } from "./scripted-answers.ts";

const lettaCodeVersions = ["0.25.9", "0.30.28", "0.32.18"];
const pythonVersions = ["1.12.1", "1.6.4"];
const caseMillisecondsMax = 120_000;
const messageCharactersMax = 2_000;
const requestsShown = 12;

const command = "npm run test:letta-code --";
const { values, positionals } = readOptions({
  command,
  help: `${command} [--folder CLIENTS] [words…]\n\nReleased Letta clients against a real server: those whose names contain a word.\n`,
  options: { folder: { type: "string" } },
  allowPositionals: true,
});
const isMeant = (name: string): boolean => positionals.length === 0 || positionals.some((word) => name.includes(word));
const temporary = mkdtempSync(join(tmpdir(), "kelpie-clients-"));
const clients = resolve(values.folder ?? join(temporary, "clients"));
mkdirSync(clients, { recursive: true });
const answers = new ScriptedAnswers();
await using provider = await ScriptedProvider.start((request) => answers.answer(request));
const models = { ANTHROPIC_API_KEY: "scripted", ANTHROPIC_API_BASE: provider.url, KELPIE_DEMO_TOKEN_MILLISECONDS: "5" };
let failures = 0;
try {
  for (const version of lettaCodeVersions.filter((each) => isMeant(`letta-code ${each}`))) await testLettaCode(version);
  for (const version of pythonVersions.filter((each) => isMeant(`letta-client (Python) ${each}`))) await testPython(version);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
say(failures === 0 ? "\nAll of them work" : `\n${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;

async function testLettaCode(version: string): Promise<void> {
  say(`\nletta-code ${version}`);
  const program = await installLettaCode(clients, version);
  const folder = join(temporary, `home-${version}`);
  await using server = await ServerProcess.start(models);
  await using log = await RequestLog.start(server.url);
  for (const each of lettaCodeCases({ version, program, folder, server, log, answers, provider })) await report(each, log);
  const key = "open-sesame";
  await using keyed = await ServerProcess.start({ ...models, KELPIE_API_KEY: key });
  await report(lettaCodeKeyCase({ program, folder, url: keyed.url, key }));
}

async function testPython(version: string): Promise<void> {
  say(`\nletta-client (Python) ${version}`);
  const python = await installPythonClient(clients, version);
  if (python === undefined) return say("  left out: this machine has no python3 that makes environments");
  await using server = await ServerProcess.start(models);
  const child = spawn(python, [join(import.meta.dirname, "python-client.py"), server.url], { stdio: ["ignore", "inherit", "inherit"] });
  if ((await new Promise((done) => child.once("close", done))) !== 0) failures++;
}

async function report({ name, run }: Case, log?: RequestLog): Promise<void> {
  const started = performance.now();
  try {
    const remark = await Promise.race([run(), afterMillisecondsMax()]);
    say(`  ok      ${name}${remark === undefined ? "" : `: ${remark}`}  (${((performance.now() - started) / 1_000).toFixed(1)} s)`);
  } catch (error) {
    failures++;
    say(`  FAILED  ${name}: ${(error instanceof Error ? error.message : String(error)).slice(0, messageCharactersMax)}`);
    for (const line of log?.lines.slice(-requestsShown) ?? []) say(`            ${line}`);
  }
}

async function afterMillisecondsMax(): Promise<never> {
  return await new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`It took more than ${caseMillisecondsMax / 1_000} s`)), caseMillisecondsMax).unref();
  });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
