/** The promises of a cluster under faults drawn from a seed: nothing lost, nothing twice, no stale read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { add, type ClusterNode, ledger, LedgerCluster, read, send } from "../../test/support/cluster-node.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { ActivationLostError, ActorElsewhereError, ActorsStoppedError, DeadlineExceededError, MailboxFullError } from "../actors/actor.ts";
import { StoreUnavailableError } from "../storage/store.ts";
import type { ClusterTimings } from "./cluster.ts";

const seeds = 8;
const faultMilliseconds = 30_000;
const names = ["a", "b", "c"];
const keys = ["x", "y", "z"];
const timings: ClusterTimings = { lease: 2_000, renew: 500, rateError: 0.01, margin: 100 };

/** What a client knows of one entry that it sent. */
interface Sent {
  readonly key: string;
  readonly entry: string;
  acknowledgedAt: number | undefined;
}

class Run {
  readonly world: LedgerCluster;
  readonly #random: ManualEnvironment["random"];
  readonly #nodes = new Map<string, ClusterNode>();
  readonly #sent: Sent[] = [];
  readonly #faults: Record<string, number> = {};
  #areFaultsOver = false;
  #moment = 0;

  constructor(seed: number) {
    this.world = new LedgerCluster(seed);
    this.#random = new ManualEnvironment(seed).random;
  }

  #below(most: number): number {
    return Math.floor(this.#random.fraction() * most);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#below(values.length)]!;
  }

  async #start(name: string): Promise<void> {
    const reads = this.#pick(["lease", "lease", "strict"] as const);
    const node = await this.world.start(name, (environment) => this.world.types(name, environment), { timings, reads });
    node.environment.clock.jump(this.#below(200_000) - 100_000);
    this.#nodes.set(name, node);
  }

  async run(): Promise<Record<string, number>> {
    for (const name of names) await this.#start(name);
    const clients = Array.from({ length: 6 }, (_, at) => this.#client(at));
    const chaos = this.#chaos();
    const all = Promise.all([...clients, chaos]);
    await this.world.until(all, 600_000);
    for (const key of keys) {
      const entries = await this.world.until(send<string[]>(this.#nodes.get("a")!, ledger(key), read), 600_000);
      this.#check(key, entries, this.#moment);
    }
    return this.#faults;
  }

  /** Sends entries to any of the nodes, again with the same id until it knows, and reads between. */
  async #client(at: number): Promise<void> {
    const { time } = this.world;
    for (let turn = 0; !this.#areFaultsOver; turn++) {
      await time.sleep(this.#below(80));
      const key = this.#pick(keys);
      if (this.#random.fraction() < 0.5) {
        const began = this.#moment++;
        const entries = await this.#ask<string[]>(key, read, undefined, 1);
        if (entries !== undefined) this.#check(key, entries, began);
      } else {
        const sent: Sent = { key, entry: `${at}.${turn}`, acknowledgedAt: undefined };
        this.#sent.push(sent);
        if ((await this.#ask<number>(key, add(sent.entry), sent.entry, 100)) !== undefined) sent.acknowledgedAt = this.#moment++;
      }
    }
  }

  async #ask<Reply>(key: string, message: typeof read, invocationId: string | undefined, attempts: number): Promise<Reply | undefined> {
    for (let attempt = 1; ; attempt++) {
      const node = this.#nodes.get(this.#pick(names))!;
      try {
        const options = {
          timeoutMilliseconds: this.#random.fraction() < 0.3 ? 300 : 5_000,
          ...(invocationId === undefined ? {} : { invocationId }),
        };
        const sending = send<Reply>(node, ledger(key), message, options).then(async (reply) => {
          // What a process says to its clients waits while it is stopped.
          await node.environment.clock.gate;
          return reply;
        });
        // One that was killed never answers.
        const patience = new AbortController();
        const late = this.world.time.sleep(10_000, patience.signal).then(() => undefined);
        const reply = await Promise.race([sending, late]).finally(() => patience.abort());
        if (reply !== undefined || attempt >= attempts) return reply;
      } catch (error) {
        assert.ok(
          expected.some((each) => error instanceof each),
          error as Error,
        );
        if (attempt >= attempts) return undefined;
        await this.world.time.sleep(this.#below(200));
      }
    }
  }

  /** Every entry once, and all that were acknowledged before the read began. */
  #check(key: string, entries: readonly string[], began: number): void {
    assert.equal(new Set(entries).size, entries.length, "nothing twice");
    for (const sent of this.#sent)
      if (sent.key === key && sent.acknowledgedAt !== undefined && sent.acknowledgedAt < began)
        assert.ok(entries.includes(sent.entry), `${sent.entry} of ${key} was acknowledged and is not there`);
  }

  async #chaos(): Promise<void> {
    const { time, network } = this.world;
    network.losesReply = () => !this.#areFaultsOver && this.#random.fraction() < 0.02;
    const until = time.elapsed() + faultMilliseconds;
    while (time.elapsed() < until) {
      await time.sleep(this.#below(2_500));
      const name = this.#pick(names);
      const kind = this.#pick(["kill", "reported", "pause", "suspend", "cut", "drain", "unknown", "move"] as const);
      this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
      await this.#fault(kind, name);
    }
    this.#areFaultsOver = true;
    network.heal();
  }

  async #fault(kind: string, name: string): Promise<void> {
    const { time, network } = this.world;
    const node = this.#nodes.get(name)!;
    if (kind === "kill" || kind === "reported") {
      node.kill();
      const witness = [...this.#nodes.values()].find((each) => each !== node && !each.environment.clock.isPaused);
      if (kind === "reported") await witness?.cluster.membership.markDead(node.cluster.node);
      await time.sleep(this.#below(3_000));
      await this.#start(name);
    } else if (kind === "pause" || kind === "suspend") {
      node.pause();
      await time.sleep(this.#below(5_000));
      node.resume({ suspended: kind === "suspend" });
      // A node that was taken to be dead exits, and starts anew.
      await time.sleep(1_500);
      if (node.fenced.length > 0 || node.cluster.membership.state === "dead") {
        node.kill();
        await this.#start(name);
      }
    } else if (kind === "cut") {
      network.cut(name, this.#pick(names.filter((each) => each !== name)));
      await time.sleep(this.#below(4_000));
      network.heal();
    } else if (kind === "drain") {
      await node.cluster.drain();
      await node.cluster[Symbol.asyncDispose]();
      await this.#start(name);
    } else if (kind === "unknown")
      node.store.failNext(
        ...Array.from({ length: 6 }, () => this.#pick(["unknownApplied", "unknownLost", "unavailable", undefined] as const)),
      );
    else {
      const target = this.#pick(node.cluster.members.filter((member) => member.node !== node.cluster.node && member.state === "up"));
      if (target !== undefined)
        await node.cluster.actors.migration.move(ledger(this.#pick(keys)), target, { wake: this.#random.fraction() < 0.5 });
    }
  }
}

const expected = [
  ActivationLostError,
  ActorElsewhereError,
  ActorsStoppedError,
  DeadlineExceededError,
  MailboxFullError,
  StoreUnavailableError,
];

for (let seed = 1; seed <= seeds; seed++)
  test(`Seed ${seed}: what was acknowledged is there once, and no read misses what was acknowledged before it`, async () => {
    const faults = await new Run(seed).run();
    await settle();
    assert.ok(Object.values(faults).reduce((sum, count) => sum + count, 0) > 5);
  });
