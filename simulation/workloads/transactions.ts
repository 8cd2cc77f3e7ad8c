/**
 * Transfers between rows with nothing but the store: `transact` under conflicts, lost answers and crashes.
 *
 * Every transfer moves one coin and leaves a receipt in the same batch. A client tries again, with the same receipt,
 * until it is told that the transfer is done. Checked: coins are neither made nor lost at any moment; a transfer that
 * was acknowledged is there once; none is there twice.
 */
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import { encodeTuple, type Tuple, tupleRange } from "../../src/base/tuple.ts";
import { transact } from "../../src/storage/transaction.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

const coinsEach = 10;
const project = "simulation";
const accountKey = (name: number): Tuple => [project, "account", name];
const receiptKey = (id: string): Tuple => [project, "receipt", id];

export const transactions: Workload = {
  name: "transactions",
  checks: "transfers between shared rows are whole, happen once, and lose nothing that was acknowledged",
  run: async (world) => {
    const accounts = world.swarm.keys + 1;
    const processes = Array.from({ length: world.swarm.processes }, (_, at) => world.addProcess(`node-${at}`, () => {}));
    const opening = Array.from({ length: accounts }, (_, at) => ({
      kind: "set" as const,
      key: encodeTuple(accountKey(at)),
      value: encodeJson(coinsEach),
    }));
    await world.disk.commit({ id: "opening", checks: [], writes: opening });
    world.onApplied(() => void checkTotal(world, accounts));

    const acknowledged: string[] = [];
    const client = async (name: number): Promise<void> => {
      for (let operation = 0; operation < world.swarm.operationsPerClient; operation++) {
        const random = world.random.stream(`client/${name}.${operation}`);
        await world.sleep(random.fraction() * world.swarm.thinkMilliseconds);
        if (!world.parts.takesOperation(name, operation)) continue;
        const [from, to] = [random.below(accounts), random.below(accounts)];
        const id = `${name}/${operation}`;
        for (;;) {
          const outcome = await world.call(random.pick(processes), `transfer ${id}`, (incarnation) =>
            transfer(world, incarnation, { id, from, to }),
          );
          if (outcome.kind === "reply") break;
          await world.sleep(10 + random.fraction() * 100);
        }
        acknowledged.push(id);
        world.operations++;
      }
    };
    await Promise.all(Array.from({ length: world.swarm.clients }, (_, name) => client(name)));
    await checkReceipts(world, accounts, acknowledged);
  },
};

type Incarnation = Parameters<World["storeFor"]>[0];

async function transfer(
  world: World,
  incarnation: Incarnation,
  order: { readonly id: string; readonly from: number; readonly to: number },
): Promise<void> {
  await transact(world.storeFor(incarnation), incarnation.environment, async (transaction) => {
    if ((await transaction.get(receiptKey(order.id))) !== undefined) return;
    const from = (await transaction.get<number>(accountKey(order.from)))!;
    if (from > 0 && order.from !== order.to) {
      transaction.set(accountKey(order.from), from - 1);
      transaction.set(accountKey(order.to), (await transaction.get<number>(accountKey(order.to)))! + 1);
    }
    transaction.set(receiptKey(order.id), { from: order.from, to: order.to, moved: from > 0 && order.from !== order.to });
  });
}

async function checkTotal(world: World, accounts: number): Promise<void> {
  const total = (await balances(world)).reduce((sum, balance) => sum + balance, 0);
  if (total !== accounts * coinsEach) world.violation(`There are ${total} coins, not ${accounts * coinsEach}`);
}

async function checkReceipts(world: World, accounts: number, acknowledged: readonly string[]): Promise<void> {
  const [answer] = await world.disk.read([{ ...tupleRange([project, "receipt"]), limit: 10_000 }]);
  const receipts = answer!.map((entry) => decodeJson<{ from: number; to: number; moved: boolean }>(entry.value));
  const keys = new Set(answer!.map((entry) => Buffer.from(entry.key).toString("hex")));
  for (const id of acknowledged) {
    if (!keys.has(Buffer.from(encodeTuple(receiptKey(id))).toString("hex")))
      world.violation(`Transfer ${id} was acknowledged and is not in the store`);
  }
  const expected = new Array<number>(accounts).fill(coinsEach);
  for (const { from, to, moved } of receipts) {
    if (!moved) continue;
    expected[from]!--;
    expected[to]!++;
  }
  const actual = await balances(world);
  if (`${actual}` !== `${expected}`)
    world.violation(`The balances are ${actual}, but the receipts say ${expected}: a transfer happened twice or by half`);
}

async function balances(world: World): Promise<number[]> {
  const [answer] = await world.disk.read([{ ...tupleRange([project, "account"]), limit: 1_000 }]);
  return answer!.map((entry) => decodeJson<number>(entry.value));
}
