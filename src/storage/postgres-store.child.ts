/** Worker of `postgres-store-faults.test.ts`: clients of one register in a process of their own, who write down what they saw. */
import { PostgresStore } from "./postgres-store.ts";
import type { Version } from "./store.ts";

export interface Seen {
  /** Nanoseconds of the machine's monotonic clock, which its processes share. */
  readonly called: string;
  readonly returned: string;
  readonly kind: "read" | "write" | "compare";
  readonly value: string;
  /** The version that was checked. */
  readonly compared?: Version | null;
  /** Of what was read or written; absent: a conflict. */
  readonly version?: Version | null;
}

const [address, schema, name, clients, rounds] = process.argv.slice(2);
const key = Buffer.from("register");
await using store = await PostgresStore.open(address!, { schema: schema!, connections: 4 });
const history: Seen[] = [];
await Promise.all(Array.from({ length: Number(clients) }, (_, client) => run(client)));
process.stdout.write(JSON.stringify(history));

async function run(client: number): Promise<void> {
  let compared: Version | null = null;
  for (let round = 0; round < Number(rounds); round++) {
    const value = `${name}.${client}.${round}`;
    const called = String(process.hrtime.bigint());
    const returned = (): string => String(process.hrtime.bigint());
    const kind = (["read", "write", "read", "compare"] as const)[(round + client) % 4]!;
    if (kind === "read") {
      const [entry] = (await store.read([{ key }]))[0]!;
      compared = entry?.version ?? null;
      history.push({ called, returned: returned(), kind, value: Buffer.from(entry?.value ?? []).toString(), version: compared });
      continue;
    }
    const checks = kind === "compare" ? [{ key, version: compared }] : [];
    const outcome = await store.commit({ id: value, checks, writes: [{ kind: "set", key, value: Buffer.from(value) }] });
    history.push({
      called,
      returned: returned(),
      kind,
      value,
      ...(kind === "compare" ? { compared } : {}),
      ...(outcome.ok ? { version: outcome.version } : {}),
    });
  }
}
