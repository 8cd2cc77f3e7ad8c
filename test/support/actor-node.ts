import type { ActorId, ActorType } from "../../src/actors/actor.ts";
import { ActorRuntime } from "../../src/actors/actor-runtime.ts";
import type { ActorLimits } from "../../src/actors/limits.ts";
import type { ProcessIdentity, ProcessTable } from "../../src/actors/process-table.ts";
import { SingleNodePlacement } from "../../src/actors/single-node-placement.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { Store } from "../../src/storage/store.ts";
import { FaultyStore } from "./faulty-store.ts";
import { ManualEnvironment } from "./manual-environment.ts";

let started = 0;

/** Processes that live and die as a test says. */
export class FakeProcesses {
  readonly running: Set<string> = new Set();
  start(): ProcessTable {
    const self: ProcessIdentity = { host: "test-host", pid: 100 + started, started: `start ${started++}` };
    this.running.add(self.started);
    return { self, isRunning: (process) => this.running.has(process.started) };
  }

  kill(table: ProcessTable): void {
    this.running.delete(table.self.started);
  }
}

/** One process with its actors: over its own memory, or over what an earlier one has left. */
export interface TestNode {
  readonly runtime: ActorRuntime;
  readonly store: FaultyStore;
  readonly environment: ManualEnvironment;
  readonly processes: FakeProcesses;
  /** What `kill -9` does: its time stops, and the others see that it is gone. */
  kill(): void;
}

let nodes = 0;

export async function startNode<Message>(
  types: readonly ActorType<Message, unknown>[],
  options: {
    readonly store?: Store;
    readonly environment?: ManualEnvironment;
    readonly processes?: FakeProcesses;
    readonly limits?: Partial<ActorLimits>;
  } = {},
): Promise<TestNode> {
  const environment = options.environment ?? new ManualEnvironment(++nodes);
  const processes = options.processes ?? new FakeProcesses();
  const store = new FaultyStore(options.store ?? new MemoryStore());
  const table = processes.start();
  const placement = new SingleNodePlacement(store, environment, table);
  const runtime = new ActorRuntime({ store, environment, placement, ...(options.limits === undefined ? {} : { limits: options.limits }) });
  for (const type of types) runtime.register(type);
  await runtime.start();
  return {
    runtime,
    store,
    environment,
    processes,
    kill: () => {
      processes.kill(table);
      store.commitFault = () => "unavailable";
      store.readFault = () => true;
    },
  };
}

export function actor(type: string, key = "one"): ActorId {
  return { project: "test", type, key };
}
