/**
 * Kills a process that is committing, again and again, and looks at what the file holds afterwards:
 *
 *     node src/storage/sqlite-store.crash.ts --kills 200 [--seed 1]
 *
 * Every acknowledged batch must be there whole, every other one whole or not at all. Exit code 1 otherwise.
 * SIGKILL leaves what the system has already taken; that a commit also outlives the machine is up to `fsync`.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { encodeTuple, decodeTuple, tupleRange } from "../base/tuple.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { readCounter } from "./counter.ts";
import { checkStoreFile } from "./sqlite-file.ts";
import { SqliteStore } from "./sqlite-store.ts";
import type { Entry, Key, Store, Write } from "./store.ts";

const writers = 6;
const partsOfBatch = ["a", "b", "c"] as const;
const countKey: Key = encodeTuple(["count"]);

export interface CrashReport {
  readonly kills: number;
  readonly acknowledged: number;
  /** Batches that were there without having been acknowledged: killed between the commit and the answer. */
  readonly unacknowledged: number;
  readonly lost: number;
  readonly torn: number;
  /** What else was wrong with the file. */
  readonly problems: readonly string[];
}

/** `seed` chooses when each process is killed. */
export async function runCrashTest(options: {
  readonly kills: number;
  readonly seed: number;
  readonly progress?: (kills: number) => void;
}): Promise<CrashReport> {
  const directory = mkdtempSync(join(tmpdir(), "kelpie-crash-"));
  const random = randomOf(options.seed);
  const total = { kills: 0, acknowledged: 0, unacknowledged: 0, lost: 0, torn: 0 };
  const problems: string[] = [];
  try {
    while (total.kills < options.kills) {
      // Another file now and then, as all of a file is looked at after each kill.
      const kills = Math.min(20, options.kills - total.kills);
      const found = await killWriters(join(directory, `${total.kills}.db`), kills, random);
      total.kills += kills;
      total.acknowledged += found.acknowledged;
      total.unacknowledged += found.unacknowledged;
      total.lost += found.lost;
      total.torn += found.torn;
      problems.push(...found.problems);
      options.progress?.(total.kills);
    }
    return { ...total, problems };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function killWriters(path: string, kills: number, random: () => number): Promise<CrashReport> {
  const acknowledged = new Set<string>();
  const lost = new Set<string>();
  const problems: string[] = [];
  let [unacknowledged, torn] = [0, 0];
  for (let run = 0; run < kills; run++) {
    const answers = await killWriter(path, run, { answers: 1 + Math.floor(random() ** 2 * 600), milliseconds: random() * 3 });
    for (const answer of answers) acknowledged.add(`${run}.${answer}`);
    await using store = await SqliteStore.open(path);
    const found = await inspect(store);
    for (const name of acknowledged) if (!found.whole.has(name)) lost.add(name);
    unacknowledged = [...found.whole].filter((name) => !acknowledged.has(name)).length;
    torn = Math.max(torn, found.torn);
    problems.push(...found.problems);
  }
  problems.push(...checkStoreFile(path));
  return { kills, acknowledged: acknowledged.size, unacknowledged, lost: lost.size, torn, problems };
}

/** Starts a writer, kills it a moment after its so many-th answer, and returns the answers that had left it. */
async function killWriter(
  path: string,
  run: number,
  moment: { readonly answers: number; readonly milliseconds: number },
): Promise<string[]> {
  const child = spawn(process.execPath, [import.meta.filename, "--write", path, "--run", String(run)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<string | null>((resolve) => child.once("close", (_code, signal) => resolve(signal)));
  const answers: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    answers.push(line);
    if (answers.length === moment.answers) setTimeout(() => child.kill("SIGKILL"), moment.milliseconds);
  }
  const signal = await ended;
  if (signal !== "SIGKILL") throw new Error(`A writer ended by itself after ${answers.length} answers`);
  return answers;
}

/** What the file holds, held against itself: the parts of a batch, its writer's last number and the count of all. */
async function inspect(store: Store): Promise<{ whole: Set<string>; torn: number; problems: string[] }> {
  const parts = new Map<string, number>();
  const lasts = new Map<string, number>();
  for await (const entry of everything(store, ["batch"])) {
    const [, run, writer, sequence] = decodeTuple(entry.key) as [string, number, number, number];
    const name = `${run}.${writer}.${sequence}`;
    const row = decodeJson<{ name: string }>(entry.value);
    if (row.name === name) parts.set(name, (parts.get(name) ?? 0) + 1);
    lasts.set(`${run}.${writer}`, Math.max(lasts.get(`${run}.${writer}`) ?? 0, sequence));
  }
  const problems: string[] = [];
  for await (const entry of everything(store, ["last"])) {
    const [, run, writer] = decodeTuple(entry.key) as [string, number, number];
    const last = decodeJson<number>(entry.value);
    const found = lasts.get(`${run}.${writer}`);
    if (found !== last) problems.push(`Writer ${run}.${writer} is at ${last}, but its last batch is ${found}`);
    lasts.delete(`${run}.${writer}`);
  }
  if (lasts.size > 0) problems.push(`${lasts.size} writers have batches and no last number`);
  const [answer] = await store.read([{ key: countKey }]);
  const count = Number(readCounter(answer?.[0]?.value));
  if (count !== parts.size) problems.push(`The count is ${count}, but there are ${parts.size} batches`);
  const whole = new Set([...parts].filter(([, number]) => number === partsOfBatch.length).map(([name]) => name));
  return { whole, torn: parts.size - whole.size, problems };
}

async function* everything(store: Store, prefix: readonly string[]): AsyncGenerator<Entry> {
  const { begin, end } = tupleRange(prefix);
  const limit = 2_000;
  for (let from: Key | undefined = begin; from !== undefined;) {
    const [answer] = await store.read([{ begin: from, end, limit }]);
    yield* answer!;
    const last: Entry | undefined = answer!.at(-1);
    from = answer!.length < limit ? undefined : Uint8Array.from([...last!.key, 0]);
  }
}

/** Commits until it is killed: several writers at once, so that their batches share transactions. */
async function write(path: string, run: number): Promise<void> {
  const store = await SqliteStore.open(path);
  // The store checkpoints every 32 MB, which takes longer than a writer lives; this makes some be killed in one.
  const other = new DatabaseSync(path, { timeout: 0 });
  setInterval(() => other.exec("PRAGMA wal_checkpoint(PASSIVE)"), 7);
  const writer = async (number: number): Promise<never> => {
    const random = randomOf(run * writers + number + 1);
    const last = encodeTuple(["last", run, number]);
    let version: number | null = null;
    for (let sequence = 1; ; sequence++) {
      const name = `${run}.${number}.${sequence}`;
      const text = "x".repeat(random() * 3_000);
      const writes = partsOfBatch.map((part): Write => ({
        kind: "set",
        key: encodeTuple(["batch", run, number, sequence, part]),
        value: encodeJson({ name, text }),
      }));
      writes.push({ kind: "set", key: last, value: encodeJson(sequence) }, { kind: "add", key: countKey, amount: 1n });
      const outcome = await store.commit({ id: name, checks: [{ key: last, version }], writes });
      if (!outcome.ok) throw new Error(`Batch ${name} found the number of another writer`);
      version = outcome.version;
      // Without a buffer, so that what the parent has not got was never said.
      writeSync(1, `${number}.${sequence}\n`);
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, number) => writer(number)));
}

/** Adds 1 to each of a few shared counters, many times, by reading and then comparing and setting. */
async function increment(path: string, times: number): Promise<void> {
  await using store = await SqliteStore.open(path);
  let batches = 0;
  const one = async (key: Key): Promise<void> => {
    for (let done = 0; done < times;) {
      const [answer] = await store.read([{ key }]);
      const entry = answer![0];
      const value = encodeJson(entry === undefined ? 1 : decodeJson<number>(entry.value) + 1);
      const outcome = await store.commit({
        id: `${process.pid}.${batches++}`,
        checks: [{ key, version: entry?.version ?? null }],
        writes: [{ kind: "set", key, value }],
      });
      if (outcome.ok) done++;
    }
  };
  await Promise.all([0, 1, 2].map((number) => one(encodeTuple(["shared", number]))));
}

/** Lets several processes increment the same counters of one file, and returns what these are in the end. */
export async function runSharedFileTest(options: { readonly processes: number; readonly times: number }): Promise<number[]> {
  const directory = mkdtempSync(join(tmpdir(), "kelpie-shared-"));
  const path = join(directory, "store.db");
  try {
    const ends = Array.from({ length: options.processes }, () => {
      const child = spawn(process.execPath, [import.meta.filename, "--increment", path, "--times", String(options.times)], {
        stdio: "inherit",
      });
      return new Promise<number | null>((resolve) => child.once("close", resolve));
    });
    const codes = await Promise.all(ends);
    if (codes.some((code) => code !== 0)) throw new Error(`The processes ended with ${codes.join(", ")}`);
    await using store = await SqliteStore.open(path);
    const [answer] = await store.read([{ ...tupleRange(["shared"]), limit: 10 }]);
    return answer!.map((entry) => decodeJson<number>(entry.value));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Numbers of at least 0 and less than 1, the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = (seed * 7_919 + 1) % 2_147_483_647;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: "200" },
      seed: { type: "string", default: "1" },
      write: { type: "string" },
      run: { type: "string", default: "0" },
      increment: { type: "string" },
      times: { type: "string", default: "1" },
    },
  });
  if (values.write !== undefined) return await write(values.write, Number(values.run));
  if (values.increment !== undefined) return await increment(values.increment, Number(values.times));
  const progress = (kills: number): void => void process.stdout.write(`${kills} kills\n`);
  const report = await runCrashTest({ kills: Number(values.kills), seed: Number(values.seed), progress });
  const { problems, ...numbers } = report;
  process.stdout.write(
    `${Object.entries(numbers)
      .map(([name, number]) => `${name} ${number}`)
      .join(", ")}\n`,
  );
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  process.exitCode = report.lost + report.torn + problems.length > 0 ? 1 : 0;
}

if (import.meta.main) await main();
