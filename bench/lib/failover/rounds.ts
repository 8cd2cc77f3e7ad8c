/** A node of an agent is killed, and the agent is asked through another one: how long until it answers? */
import { Host } from "./host.ts";

export type Death = "process" | "host";

export interface Round {
  /** From the kill until the agent had answered. */
  readonly milliseconds: number;
  /** Requests that failed before. */
  readonly failures: number;
}

export interface FailoverResult {
  readonly rounds: readonly Round[];
  /** How long the same question takes when nothing is wrong. */
  readonly usual: readonly number[];
}

const answerMillisecondsMax = 60_000;

export class Failover implements AsyncDisposable {
  readonly #hosts: readonly Host[];

  private constructor(hosts: readonly Host[]) {
    this.#hosts = hosts;
  }

  static async start(storeAddress: string, count: number): Promise<Failover> {
    const hosts: Host[] = [];
    for (let index = 1; index <= count; index++) hosts.push(await Host.start(`node${index}`, storeAddress));
    return new Failover(hosts);
  }

  async measure(death: Death, count: number, onRound: (round: number) => void): Promise<FailoverResult> {
    const rounds: Round[] = [];
    const usual: number[] = [];
    for (let round = 0; round < count; round++) {
      onRound(round + 1);
      const victim = this.#hosts[round % this.#hosts.length]!;
      const other = this.#hosts[(round + 1) % this.#hosts.length]!;
      const agentId = await agentAt(victim, other);
      const before = performance.now();
      await answer(other, agentId);
      usual.push(performance.now() - before);
      rounds.push(await this.#once(death, victim, other, agentId));
      await victim.restart();
    }
    return { rounds, usual };
  }

  async #once(death: Death, victim: Host, other: Host, agentId: string): Promise<Round> {
    const begin = performance.now();
    if (death === "process") victim.killServer();
    else victim.killAll();
    for (let failures = 0; ; failures++) {
      try {
        await answer(other, agentId);
        return { milliseconds: performance.now() - begin, failures };
      } catch (error) {
        if (performance.now() - begin > answerMillisecondsMax) throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host[Symbol.asyncDispose]()));
  }
}

/** An agent of the demo model that `host` has in memory, after a word with it through `other`. */
async function agentAt(host: Host, other: Host): Promise<string> {
  for (;;) {
    const { id } = await call<{ id: string }>(other, "POST", "/v1/agents/", { model: "kelpie/demo", memory_blocks: [] });
    await answer(other, id);
    const { owner } = await call<{ owner: { name: string } | null }>(other, "GET", `/v1/actors/${id}`);
    if (owner?.name === host.name) return id;
  }
}

/** @throws {Error} It does not answer. */
async function answer(host: Host, agentId: string): Promise<void> {
  await call(host, "POST", `/v1/agents/${agentId}/messages`, { messages: [{ role: "user", content: "Count to 3" }] });
}

async function call<T>(host: Host, method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(host.url + path, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path} was answered with ${response.status}: ${(await response.text()).slice(0, 200)}`);
  return (await response.json()) as T;
}
