/**
 * A real server, killed again and again while clients use it: `npm run test:crash -- --kills 300`.
 *
 * Everything that varies comes from the seed but the machine's own timing; the checks hold for every timing.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { KeyedRandom, type RandomStream } from "../../simulation/random.ts";
import { Api } from "./api.ts";
import { bubblewrapMissing } from "../../src/sandbox/testing.ts";
import { check } from "./checker.ts";
import { doTask, type Note } from "./client.ts";
import { settleUnknown, type Settled } from "./settle.ts";
import { type Plan, plans } from "./task.ts";
import { type OutsideMoment, World } from "./world.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "46" },
    moments: { type: "string" },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "20" },
    agents: { type: "string", default: "50" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  process.stdout.write(
    "npm run test:crash -- [--kills 46] [--seed 1] [--clients 20] [--agents 50] [--moments NAME,…] [--json]\n\nKills a real server with SIGKILL at seeded moments while clients talk to agents, and checks that nothing\nacknowledged is lost and nothing happens twice. Exit code 1 if a check fails.\n",
  );
  process.exit(0);
}

const [killsWanted, clientsWanted, agentsWanted] = [values.kills, values.clients, values.agents].map(Number) as [number, number, number];
const random = new KeyedRandom(Number(values.seed));

/** Inside the server it kills itself; outside, whoever stands there pulls the plug. */
const insideMoments = [
  "before-commit",
  "after-commit",
  "before-tool",
  "after-tool",
  "at agents.run.started",
  "at agents.run.resumed",
  "at agents.step",
  "at agents.send.attached",
  "at actors.claimed",
  "at actors.reminderDelivered",
];
const outsideMoments = ["model-request", "model-stream", "tool-arrived", "tool-counted", "tool-replied"] satisfies OutsideMoment[];
const quickMoments = [...insideMoments, ...outsideMoments, "while-starting", "any-time"];
/** Calls through a server's program or a sandbox take longer than what is killed elsewhere lives. */
const slowMoments = ["arrived", "counted", "replied"].flatMap((part) => [
  `tool-${part} of MCP`,
  ...(bubblewrapMissing === undefined ? [`tool-${part} over HTTP`] : []),
]);
/** Slow ones are spread among the quick ones, so that no step is interrupted so often that its run is given up. */
const allMoments = quickMoments.flatMap((moment, at) => [
  moment,
  ...(at % 3 === 1 ? [slowMoments[((at - 1) / 3) % slowMoments.length]!] : []),
]);

const moments = values.moments?.split(",") ?? allMoments;
const strange = moments.find((moment) => !allMoments.includes(moment));
if (strange !== undefined) throw new Error(`There is no moment ${strange}: there are ${allMoments.join(", ")}`);

/** The first clients ask for what takes longest, and no others: each is seen to go on. */
function plansOf(client: number): readonly Plan[] {
  if (client === 0 && bubblewrapMissing === undefined) return ["post"];
  return client <= 2 ? ["mcp"] : plans;
}

/** What a moment outside is called, by the way of the call. */
function named(moment: OutsideMoment, tool = ""): string {
  return tool.startsWith("counting__") ? `${moment} of MCP` : tool.startsWith("post_") ? `${moment} over HTTP` : moment;
}

const folder = mkdtempSync(join(tmpdir(), "kelpie-crash-"));
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
const api = new Api(url);
await using world = await World.start();
const killed = new Map<string, number>();
let child: ChildProcess | undefined;

const startedAt = performance.now();
try {
  await start(null);
  const agentIds = await createAgents(agentsWanted);
  const notes: Note[] = [];
  const done = new AbortController();
  const clients = Array.from({ length: clientsWanted }, (_, index) => client(index, agentIds, notes, done.signal));
  await killAgainAndAgain(random.stream("kills"));
  done.abort();
  await Promise.all(clients);
  await api.settle();
  const states = new Map(await Promise.all(agentIds.map(async (id) => [id, await api.finalState(id)] as const)));
  const verdict = check(notes, states, world.effects);
  report(notes, verdict, await settleUnknown(api, url, states, world.effects));
} finally {
  child?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

async function client(index: number, agentIds: readonly string[], notes: Note[], signal: AbortSignal): Promise<void> {
  const stream = random.stream(`client ${index}`);
  for (let number = 0; !signal.aborted; number++) {
    const note: Note = {
      task: { id: `${index}-${number}`, plan: pick(plansOf(index), stream) },
      agentId: pick(agentIds, stream),
      otid: `otid-${values.seed}-${index}-${number}`,
      mode: stream.fraction() < 0.7 ? "stream" : "json",
      runId: undefined,
      accepted: false,
      finished: false,
      seqs: [],
      texts: new Map(),
      problem: undefined,
    };
    notes.push(note);
    // The last task of a client is brought to its end too, so it outlives the kills.
    await doTask(url, note, new AbortController().signal);
  }
}

async function killAgainAndAgain(stream: RandomStream): Promise<void> {
  // The first start above had no kill; each round begins with a new one.
  await kill(child!);
  for (let round = 0; round < killsWanted; round++) {
    const moment = moments[round % moments.length]!;
    // The client of the slow calls has one at a time, so at the second the first is done.
    const count = slowMoments.includes(moment) ? 4 : 1 + Math.floor(stream.fraction() * 20);
    await killOnce(moment, count, stream);
    if (process.stderr.isTTY) process.stderr.write(`\r${round + 1} of ${killsWanted} kills`);
  }
  if (process.stderr.isTTY) process.stderr.write("\n");
  await start(null);
}

async function killOnce(moment: string, count: number, stream: RandomStream): Promise<void> {
  const isInside = insideMoments.includes(moment);
  const gone = Promise.withResolvers<void>();
  const started = start(isInside ? { moment, count } : null);
  const process_ = child!;
  process_.once("exit", () => gone.resolve());
  let passed = 0;
  world.watch((at, tool) => {
    if (named(at, tool) === moment && ++passed === Math.ceil(count / 2)) process_.kill("SIGKILL");
  });
  if (moment === "while-starting") await sleep(stream.fraction() * 500);
  else await Promise.race([started, gone.promise]);
  const isReady = process_.exitCode === null && process_.signalCode === null;
  if (moment === "while-starting") process_.kill("SIGKILL");
  else if (moment === "any-time") await Promise.race([sleep(stream.fraction() * 600), gone.promise]);
  // A moment that does not come by itself in time is replaced by now.
  else if (isReady) await Promise.race([sleep(slowMoments.includes(moment) ? 10_000 : 1_500), gone.promise]);
  const byItself = process_.exitCode !== null || process_.signalCode !== null;
  const name = byItself || moment === "any-time" || moment === "while-starting" ? moment : "any-time";
  await kill(process_);
  world.watch(() => undefined);
  killed.set(name, (killed.get(name) ?? 0) + 1);
  started.catch(() => undefined);
}

async function start(killAt: { readonly moment: string; readonly count: number } | null): Promise<void> {
  const settings = { folder, port, modelUrl: world.modelUrl, toolUrl: world.toolUrl, posts: bubblewrapMissing === undefined, kill: killAt };
  const next = spawn(process.execPath, [join(import.meta.dirname, "server.ts")], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      CRASH_SETTINGS: JSON.stringify(settings),
      NODE_COMPILE_CACHE: join(folder, "cache"),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child = next;
  await new Promise<void>((resolve, reject) => {
    next.stdout.once("data", () => resolve());
    next.once("exit", (code, signal) =>
      signal === "SIGKILL" ? resolve() : reject(new Error(`The server ended by itself with code ${code}`)),
    );
  });
}

async function kill(target: ChildProcess): Promise<void> {
  if (target.exitCode !== null || target.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    target.once("exit", () => resolve());
    target.kill("SIGKILL");
  });
}

async function createAgents(count: number): Promise<string[]> {
  const tools = ["count_once", "count_idempotent", "count_read"];
  if (bubblewrapMissing === undefined) tools.push("post_once", "post_idempotent");
  const counting = await api.addCountingServer(world.toolUrl);
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(await api.createAgent(`agent ${index}`, tools, counting));
  return ids;
}

function report(notes: readonly Note[], verdict: ReturnType<typeof check>, settled: Settled): void {
  const problems = [...verdict.lost, ...verdict.duplicated, ...verdict.repeated, ...verdict.wrong, ...settled.problems];
  const counted = [...world.effects.values()];
  const through = (prefix: string): number =>
    counted.filter(({ tool }) => tool.startsWith(prefix)).reduce((sum, { calls }) => sum + calls, 0);
  const result = {
    seed: Number(values.seed),
    kills: [...killed.values()].reduce((sum, count) => sum + count, 0),
    killsByMoment: Object.fromEntries(killed),
    tasks: notes.length,
    acknowledged: notes.filter((note) => note.accepted).length,
    finished: notes.filter((note) => note.finished).length,
    lost: verdict.lost.length,
    duplicated: verdict.duplicated.length,
    effects: world.effects.size,
    calls: { inProcess: through("count_"), mcp: through("counting__"), http: through("post_") },
    effectsRepeated: verdict.repeated.length,
    effectsUnknown: settled.unknown,
    effectsSettled: settled.settled,
    effectsReconciled: settled.reconciled,
    wrongHistories: verdict.wrong.length,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
  };
  const { calls } = result;
  if (values.json) process.stdout.write(`${JSON.stringify({ ...result, problems })}\n`);
  else {
    for (const [name, count] of killed) process.stdout.write(`  ${String(count).padStart(4)} kills ${name}\n`);
    process.stdout.write(
      `kills ${result.kills}, acknowledged ${result.acknowledged} of ${result.tasks} tasks, finished ${result.finished}, lost ${result.lost}, duplicated steps ${result.duplicated}, ` +
        `effects ${result.effects}, calls ${calls.inProcess} in the process, ${calls.mcp} of an MCP server, ${calls.http} over HTTP from a sandbox${bubblewrapMissing === undefined ? "" : ` (not run: ${bubblewrapMissing})`}, ` +
        `repeated without being declared repeatable ${result.effectsRepeated}, reported unknown ${result.effectsUnknown}, settled with the command ${result.effectsSettled}, found out by asking their tool ${result.effectsReconciled}, ` +
        `histories not allowed ${result.wrongHistories} (seed ${values.seed}, ${result.seconds} s)\n`,
    );
    for (const problem of problems.slice(0, 20)) process.stdout.write(`  ${problem}\n`);
  }
  process.exitCode = problems.length === 0 ? 0 : 1;
}

function pick<T>(from: readonly T[], stream: RandomStream): T {
  return from[Math.floor(stream.fraction() * from.length)]!;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: free } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return free;
}
