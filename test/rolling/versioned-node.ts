/**
 * A node of a Kelpie whose rows have versions 1 to `max`: `versioned-node.ts <store> <name> <max>`. Its counters keep a
 * number in version 1, and in version 2 an object, which a node of version 1 does not understand.
 *
 * Its parent asks it over IPC, and ends it with SIGTERM, as a deploy does.
 */
import type { ActorId, Turn } from "../../src/actors/actor.ts";
import { openCluster } from "../../src/cluster/open-cluster.ts";
import { TcpTransport } from "../../src/cluster/tcp-transport.ts";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { PostgresStore } from "../../src/storage/postgres-store.ts";

export interface Question {
  readonly id: number;
  /** Adds one to this counter; without one, asks which version is written. */
  readonly key?: string;
  readonly invocationId?: string;
}

export interface Reply {
  readonly id: number;
  readonly value?: number;
  readonly error?: string;
}

export function counterId(key: string): ActorId {
  return { project: "test", type: "counter", key };
}

/** A counter's row: a number in version 1. */
export type CounterRow = number | { readonly count: number };

async function add(turn: Turn, versions: { readonly read: number; readonly write: number }): Promise<number> {
  const row = (await turn.state.get<CounterRow>(["count"])) ?? 0;
  if (typeof row === "object" && versions.read < 2) throw new Error("A node of version 1 has claimed a counter of version 2");
  const count = (typeof row === "object" ? row.count : row) + 1;
  turn.state.set(["count"], versions.write >= 2 ? { count } : count);
  return count;
}

if (import.meta.main) {
  const [address, name, max] = [process.argv[2]!, process.argv[3]!, Number(process.argv[4])];
  const environment = new RealEnvironment({ level: "error" });
  const secret = Buffer.from("a secret of this test");
  const store = await PostgresStore.open(address);
  const cluster = openCluster({
    store,
    environment,
    name,
    schema: { min: 1, max },
    transport: (node) => new TcpTransport({ environment, node, cluster: "test", secret, host: "127.0.0.1", port: 0 }),
    onFenced: (reason) => {
      throw reason;
    },
  });
  cluster.actors.register<"add", number>({
    type: "counter",
    create: (activation) => ({ receive: async (_add, turn) => await add(turn, { read: max, write: activation.schema }) }),
  });
  const answer = async ({ id, key, invocationId }: Question): Promise<Reply> => {
    if (key === undefined) return { id, value: cluster.placement.schema.writable };
    try {
      return { id, value: await cluster.actors.invoke<number>(counterId(key), "add", { invocationId: invocationId! }) };
    } catch (error) {
      return { id, error: String(error) };
    }
  };
  process.on("message", (question: Question) => void answer(question).then((reply) => process.send!(reply)));
  process.on("SIGTERM", () => {
    void (async () => {
      await cluster.drain();
      await cluster[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      process.disconnect();
    })();
  });
  try {
    await cluster.start();
    process.send!({ id: 0 } satisfies Reply);
  } catch (error) {
    process.send!({ id: 0, error: String(error) } satisfies Reply);
    process.exit(1);
  }
}
