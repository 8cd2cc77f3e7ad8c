/**
 * Tellers move coins between accounts that all of them share: rows that belong to no actor, changed through
 * `turn.shared`, with a receipt in the teller's own state.
 *
 * Checked after every batch: coins are neither made nor lost. At the end: the balances are what the receipts say, and
 * every transfer that was acknowledged has its receipt.
 */
import type { Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { decodeJson, encodeJson } from "../../src/base/json.ts";
import { encodeTuple, type Tuple, tupleRange } from "../../src/base/tuple.ts";
import { alone, type Client, type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

interface Transfer {
  readonly kind: "transfer";
  readonly id: string;
  readonly from: number;
  readonly to: number;
}

/** Adds up all accounts: they have to be seen as they were at one time. */
interface Audit {
  readonly kind: "audit";
  readonly id: string;
  readonly accounts: number;
}

interface Receipt extends Transfer {
  readonly moved: boolean;
}

/** What a teller throws when the coins do not add up: nobody may ever be told so. */
class MissingCoinsError extends Error {
  override readonly name = "MissingCoinsError";
}

const coinsEach = 10;
const accountKey = (name: number): Tuple => [project, "account", name];

export const bank: Workload = {
  name: "bank",
  checks: "transfers between rows that actors share are whole and happen once; no coin is made or lost",
  run: (world) => runBank(world, alone),
};

export async function runBank(world: World, open: OpenActors): Promise<void> {
  const accounts = world.swarm.keys + 1;
  const opening = Array.from({ length: accounts }, (_, at) => ({
    kind: "set" as const,
    key: encodeTuple(accountKey(at)),
    value: encodeJson(coinsEach),
  }));
  await world.disk.commit({ id: "opening", checks: [], writes: opening });
  world.onApplied(() => void checkTotal(world, accounts));
  const cluster = open(world, () => [tellerType]);
  const tellers = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "teller", key: `teller-${at}` }));

  const acknowledged: { readonly teller: ActorId; readonly id: string }[] = [];
  await runClients(cluster, async (client, name, operation) => {
    const teller = client.random.pick(tellers);
    if (client.random.chance(0.3)) return await audit(world, client, teller, { kind: "audit", id: `${name}.${operation}`, accounts });
    const transfer: Transfer = {
      kind: "transfer",
      id: `${name}.${operation}`,
      from: client.random.below(accounts),
      to: client.random.below(accounts),
    };
    const settled = await client.request<Receipt>({
      id: teller,
      message: transfer,
      invocationId: transfer.id,
      onReply: async () => {
        if ((await receiptsOf(world, teller)).every((receipt) => receipt.id !== transfer.id))
          world.violation(`${teller.key} acknowledged ${transfer.id} before it was durable`);
      },
    });
    if (settled.kind === "reply") acknowledged.push({ teller, id: transfer.id });
  });
  await checkReceipts(world, accounts, tellers, acknowledged);
}

const tellerType: ActorType = { type: "teller", create: () => new Teller() as Actor };

/** Invokes with an id or without: an audit writes nothing, and is answered from a read alone where it may be. */
async function audit(world: World, client: Client, teller: ActorId, message: Audit): Promise<void> {
  const settled = await client.request<number>({ id: teller, message, ...(client.random.chance(0.5) ? {} : { invocationId: message.id }) });
  if (settled.kind === "reply" && settled.reply !== message.accounts * coinsEach)
    world.violation(`An audit was told of ${settled.reply} coins`);
}

class Teller implements Actor<Transfer | Audit, Receipt | number> {
  async receive(message: Transfer | Audit, turn: Turn): Promise<Receipt | number> {
    return message.kind === "audit" ? await this.#audit(message, turn) : await this.#transfer(message, turn);
  }

  async #audit({ accounts }: Audit, turn: Turn): Promise<number> {
    let total = 0;
    for (let name = 0; name < accounts; name++) total += (await turn.shared.get<number>(accountKey(name)))!;
    if (total > accounts * coinsEach) throw new MissingCoinsError(`There are ${total} coins`);
    return total;
  }

  async #transfer(transfer: Transfer, turn: Turn): Promise<Receipt> {
    const from = (await turn.shared.get<number>(accountKey(transfer.from)))!;
    const to = (await turn.shared.get<number>(accountKey(transfer.to)))!;
    const moved = from > 0 && transfer.from !== transfer.to;
    const receipt = { ...transfer, moved };
    turn.state.set(["receipts"], [...((await turn.state.get<Receipt[]>(["receipts"])) ?? []), receipt]);
    if (moved) {
      turn.shared.set(accountKey(transfer.from), from - 1);
      turn.shared.set(accountKey(transfer.to), to + 1);
    }
    return receipt;
  }
}

async function receiptsOf(world: World, teller: ActorId): Promise<readonly Receipt[]> {
  return (await storedRow<Receipt[]>(world, teller, ["receipts"])) ?? [];
}

async function balances(world: World): Promise<number[]> {
  const [answer] = await world.disk.read([{ ...tupleRange([project, "account"]), limit: 1_000 }]);
  return answer!.map((entry) => decodeJson<number>(entry.value));
}

async function checkTotal(world: World, accounts: number): Promise<void> {
  const total = (await balances(world)).reduce((sum, balance) => sum + balance, 0);
  if (total !== accounts * coinsEach) world.violation(`There are ${total} coins, not ${accounts * coinsEach}`);
}

async function checkReceipts(
  world: World,
  accounts: number,
  tellers: readonly ActorId[],
  acknowledged: readonly { readonly teller: ActorId; readonly id: string }[],
): Promise<void> {
  const expected = new Array<number>(accounts).fill(coinsEach);
  const seen = new Set<string>();
  for (const teller of tellers) {
    for (const { id, from, to, moved } of await receiptsOf(world, teller)) {
      if (seen.has(id)) world.violation(`Transfer ${id} happened twice`);
      seen.add(id);
      if (!moved) continue;
      expected[from]!--;
      expected[to]!++;
    }
  }
  for (const { id } of acknowledged) if (!seen.has(id)) world.violation(`Transfer ${id} was acknowledged and has no receipt`);
  const actual = await balances(world);
  if (`${actual}` !== `${expected}`)
    world.violation(`The balances are ${actual}, but the receipts say ${expected}: a transfer is half done`);
}
