/** The server under test: the real composition, with tools that call the counting server, and a hand on its own plug. */
import { join } from "node:path";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import type { Environment } from "../../src/environment/environment.ts";
import { createKelpie, storeFile } from "../../src/kelpie.ts";
import { SqliteStore } from "../../src/storage/sqlite-store.ts";
import type { Answer, Batch, CommitOutcome, Key, Query, Store, StoreLimits } from "../../src/storage/store.ts";
import { countingTools } from "./counting-tools.ts";
import { postingTools } from "./posting-tools.ts";

const settings = JSON.parse(process.env["CRASH_SETTINGS"]!) as {
  readonly folder: string;
  readonly port: number;
  readonly modelUrl: string;
  readonly toolUrl: string;
  /** Whether code of tools can run here. */
  readonly posts: boolean;
  /** Where this process kills itself: at the `count`th time that it passes `moment`. */
  readonly kill: { readonly moment: string; readonly count: number } | null;
};

let passed = 0;

function pass(moment: string): void {
  if (settings.kill?.moment === moment && ++passed === settings.kill.count) process.kill(process.pid, "SIGKILL");
}

class PluggedStore implements Store {
  readonly #store: Store;
  readonly limits: StoreLimits;

  constructor(store: Store) {
    this.#store = store;
    this.limits = store.limits;
  }

  read(queries: readonly Query[]): Promise<readonly Answer[]> {
    return this.#store.read(queries);
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    pass("before-commit");
    const outcome = await this.#store.commit(batch);
    pass("after-commit");
    return outcome;
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#store.watch(keys, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
  }
}

const real = new RealEnvironment({ level: "error" });
const environment: Environment = { clock: real.clock, random: real.random, log: real.log, probe: (name) => pass(`at ${name}`) };

const store = new PluggedStore(await SqliteStore.open(storeFile(join(settings.folder))));
const kelpie = await createKelpie({
  store,
  environment,
  sealingKey: "a key of the crash test",
  providers: { OPENAI_API_KEY: "scripted", OPENAI_API_BASE: settings.modelUrl },
  tools: [
    ...countingTools(settings.toolUrl, pass),
    ...(settings.posts ? postingTools(environment, join(settings.folder, "sandboxes"), settings.toolUrl) : []),
  ],
});
await kelpie.serve({ port: settings.port });
process.stdout.write("ready\n");
