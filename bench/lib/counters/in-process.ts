/** Worker: single calls, one after the other, without HTTP: what a turn, a commit and an activation cost. */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Actors } from "../../../src/actors/actor.ts";
import { actorOf } from "../../../src/actors/define-actor.ts";
import { createKelpie } from "../../../src/kelpie.ts";
import { Samples, seededRandom, type Spread, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";
import { counterActor } from "./counter-actor.ts";

export interface InProcessResult {
  readonly hotRead: Spread;
  readonly hotDurable: Spread;
  readonly sync: Spread;
  readonly commit: Spread;
  readonly cold: Spread;
}

const hotReads = 50_000;
const durableCalls = 3_000;
const actorsStored = 20_000;
const coldCalls = 5_000;

answerQuestions({
  measure: async ({ directory }: { directory: string }): Promise<InProcessResult> => {
    const hot = await measureHot(directory);
    const [sync, commit] = [measureSync(directory), measureCommit(directory)];
    return { ...hot, sync, commit, cold: await measureCold(directory) };
  },
});

async function measureHot(directory: string): Promise<{ hotRead: Spread; hotDurable: Spread }> {
  await using kelpie = await createKelpie({ dataDirectory: directory, actors: [counterActor] });
  const hot = actorOf(kelpie.actors, counterActor, "hot");
  await hot.add({ by: 1 });
  const measureReads = (calls: number): Promise<Spread> => measure(calls, () => hot.read());
  await measureReads(hotReads / 10);
  const hotRead = await measureReads(hotReads);
  const hotDurable = await measure(durableCalls, () => hot.add({ by: 1 }));
  for (let index = 0; index < actorsStored; index += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, (_, at) => addTo(kelpie.actors, index + at)));
  return { hotRead, hotDurable };
}

/** Each call is to an actor that this process has not touched, whose last node is gone. */
async function measureCold(directory: string): Promise<Spread> {
  await using kelpie = await createKelpie({ dataDirectory: directory, actors: [counterActor] });
  const random = seededRandom(1);
  const keys = [...new Set(Array.from({ length: coldCalls }, () => Math.floor(random() * actorsStored)))];
  return await measure(keys.length, (index) => actorOf(kelpie.actors, counterActor, `cold-${keys[index]}`).read());
}

/** One block appended to a file and brought to the disk. */
function measureSync(directory: string): Spread {
  const file = openSync(join(directory, "sync"), "w");
  const block = Buffer.alloc(4_096, "x");
  const latencies = new Samples();
  for (let index = 0; index < durableCalls; index++) {
    const before = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    latencies.add(performance.now() - before);
  }
  closeSync(file);
  return spread(latencies.values);
}

/** Two rows changed in one bare transaction of SQLite. */
function measureCommit(directory: string): Spread {
  using database = new DatabaseSync(join(directory, "commit.db"));
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE kv (key TEXT PRIMARY KEY, value INTEGER)");
  const set = database.prepare("INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  const latencies = new Samples();
  for (let index = 0; index < durableCalls; index++) {
    const before = performance.now();
    database.exec("BEGIN IMMEDIATE");
    set.run("header", index);
    set.run("state", index);
    database.exec("COMMIT");
    latencies.add(performance.now() - before);
  }
  return spread(latencies.values);
}

async function measure(calls: number, call: (index: number) => Promise<unknown>): Promise<Spread> {
  const latencies = new Samples();
  for (let index = 0; index < calls; index++) {
    const before = performance.now();
    await call(index);
    latencies.add(performance.now() - before);
  }
  return spread(latencies.values);
}

async function addTo(actors: Actors, index: number): Promise<void> {
  await actorOf(actors, counterActor, `cold-${index}`).add({ by: 1 });
}
