/**
 * Transfers between accounts that are never half done. The accounts are shared rows; tellers are actors that move
 * money between them. A turn that finds an account changed under it runs again from the start, and the two accounts
 * and the teller's own record change in one batch, or not at all.
 *
 * Run it with `node_modules/.bin/node examples/bank.ts`. It checks what it sees, and fails if something is wrong.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Turn } from "../src/actors/actor.ts";
import { actorOf, createKelpie, defineActor, type Kelpie } from "../src/kelpie.ts";
import { transact } from "../src/storage/transaction.ts";
import { RealEnvironment } from "../src/environment/real-environment.ts";

const names = ["ada", "grace", "alan", "barbara", "edsger"];
const initialBalance = 100;

/** The key of an account's row: its value is the balance. */
const account = (name: string): string[] => ["default", "account", name];

class InsufficientFundsError extends Error {
  override readonly name = "InsufficientFundsError";
}

interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly amount: number;
}

const Teller = defineActor({
  type: "teller",
  methods: {
    async transfer(turn: Turn, { from, to, amount }: Transfer) {
      const balance = (await turn.shared.get<number>(account(from))) ?? 0;
      if (balance < amount) throw new InsufficientFundsError(`${from} has ${balance}, not ${amount}`);
      turn.shared.set(account(from), balance - amount);
      // Read after it was written above, so a transfer to oneself is right too.
      turn.shared.set(account(to), ((await turn.shared.get<number>(account(to))) ?? 0) + amount);
      const done = ((await turn.state.get<number>(["done"])) ?? 0) + 1;
      turn.state.set(["done"], done);
    },
    async done(turn: Turn) {
      return (await turn.state.get<number>(["done"])) ?? 0;
    },
  },
});

async function balances(kelpie: Kelpie): Promise<number[]> {
  return await transact(kelpie.store, new RealEnvironment(), async (rows) => {
    const found: number[] = [];
    for (const name of names) found.push((await rows.get<number>(account(name)))!);
    return found;
  });
}

const dataDirectory = mkdtempSync(join(tmpdir(), "kelpie-bank-"));
try {
  const expected = new Map(names.map((name) => [name, initialBalance]));
  let [done, refused] = [0, 0];
  {
    await using kelpie = await createKelpie({ dataDirectory, actors: [Teller] });
    // Timers of Kelpie do not keep a process alive; a server does.
    await kelpie.serve({ port: 0 });
    await transact(kelpie.store, new RealEnvironment(), async (rows) => {
      for (const name of names) rows.set(account(name), initialBalance);
    });
    // Three hundred transfers by four tellers at once, over five accounts; each is asked for twice, as by a caller
    // who did not hear the first answer.
    const transfers = Array.from({ length: 300 }, (_, each): Transfer & { id: string; teller: string } => ({
      id: `transfer ${each}`,
      teller: `teller ${each % 4}`,
      from: names[(each * 7) % 5]!,
      to: names[(each * 3 + Math.floor(each / 5)) % 5]!,
      amount: 1 + ((each * 13) % 40),
    }));
    await Promise.all(
      transfers.map(async ({ id, teller, ...transfer }) => {
        const client = actorOf(kelpie.actors, Teller, teller);
        try {
          await client.transfer(transfer, { invocationId: id });
          await client.transfer(transfer, { invocationId: id });
        } catch (error) {
          if (!(error instanceof InsufficientFundsError)) throw error;
          refused++;
          return;
        }
        done++;
        expected.set(transfer.from, expected.get(transfer.from)! - transfer.amount);
        expected.set(transfer.to, expected.get(transfer.to)! + transfer.amount);
      }),
    );
  }
  await using kelpie = await createKelpie({ dataDirectory, actors: [Teller] });
  const found = await balances(kelpie);
  const counts = await Promise.all([0, 1, 2, 3].map((teller) => actorOf(kelpie.actors, Teller, `teller ${teller}`).done()));
  console.log(`${done} transfers done, ${refused} refused for lack of funds`);
  console.log(names.map((name, index) => `${name} ${found[index]}`).join(", "));
  assert.deepEqual(found, [...expected.values()], "Every balance is what the acknowledged transfers make of it");
  assert.equal(
    found.reduce((sum, balance) => sum + balance, 0),
    names.length * initialBalance,
    "No money was made or lost",
  );
  assert.ok(found.every((balance) => balance >= 0));
  assert.equal(
    counts.reduce((sum, count) => sum + count, 0),
    done,
    "The tellers' own records agree",
  );
  assert.ok(done > 100 && refused > 0, "There was something to see");
} finally {
  rmSync(dataDirectory, { recursive: true, force: true });
}
