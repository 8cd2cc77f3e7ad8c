/**
 * Actors that work on: a job is accepted in one turn and done step by step in the background, each step a turn of its
 * own, with a reminder always ahead. It is the shape of an agent's run.
 *
 * Checked: a job that was accepted comes to its end although nobody asks again, and each of its steps is there once,
 * in order, whatever crashed, was evicted or was handed over in between.
 */
import type { Activation, Actor, ActorId, ActorType, Reminder, Turn } from "../../src/actors/actor.ts";
import { alone, type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import type { Incarnation } from "../process.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

interface Job {
  readonly job: string;
  readonly steps: number;
  /** Between two steps: what a model would take. */
  readonly pauseMilliseconds: number;
}

const patience = 240_000;
const reminderMilliseconds = 5_000;

export const steps: Workload = {
  name: "steps",
  checks: "work in the background ends although nobody asks, each step once and in order, across crashes",
  run: (world) => runSteps(world, alone),
};

export async function runSteps(world: World, open: OpenActors): Promise<void> {
  const cluster = open(world, (incarnation) => [workerType(incarnation)]);
  const ids = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "worker", key: `worker-${at}` }));
  const accepted: { readonly id: ActorId; readonly job: Job }[] = [];
  const asked = new Map<string, Job>();
  await runClients(cluster, async (client, name, operation) => {
    // Jobs are long: a few of them make as many turns as many short calls.
    if (operation >= 4) return;
    const id = client.random.pick(ids);
    const job = { job: `${name}.${operation}`, steps: client.random.between(1, 6), pauseMilliseconds: client.random.pick([0, 10, 300]) };
    asked.set(job.job, job);
    const settled = await client.request<null>({ id, message: job, invocationId: job.job });
    if (settled.kind === "reply") accepted.push({ id, job });
  });

  const unfinished = async (): Promise<string[]> => {
    const texts: string[] = [];
    for (const { id, job } of accepted) {
      const done = (await logOf(world, id)).filter((line) => line.startsWith(`${job.job}/`)).length;
      if (done < job.steps) texts.push(`Job ${job.job} of ${id.key} was accepted, and ${done} of its ${job.steps} steps are done`);
    }
    return texts;
  };
  const deadline = Math.max(world.kernel.now, world.swarm.faultsUntil) + patience;
  while (world.kernel.now < deadline && (await unfinished()).length > 0) await world.sleep(2_000);
  for (const text of await unfinished()) world.violation(text);
  for (const id of ids) await checkLog(world, id, asked);
}

/** Each step is there once, after the one before it. */
async function checkLog(world: World, id: ActorId, asked: ReadonlyMap<string, Job>): Promise<void> {
  const done = new Map<string, number>();
  for (const line of await logOf(world, id)) {
    const [job = "", step] = line.split("/");
    const next = done.get(job) ?? 0;
    if (Number(step) !== next || next >= (asked.get(job)?.steps ?? 0))
      world.violation(`Step ${line} of ${id.key} came when step ${next} of ${asked.get(job)?.steps} was next`);
    done.set(job, next + 1);
  }
}

async function logOf(world: World, id: ActorId): Promise<readonly string[]> {
  return (await storedRow<string[]>(world, id, ["log"])) ?? [];
}

function workerType(incarnation: Incarnation): ActorType {
  return { type: "worker", create: (activation) => new Worker(incarnation, activation) as Actor };
}

class Worker implements Actor<Job, null> {
  readonly #incarnation: Incarnation;
  readonly #activation: Activation;
  readonly #working = new Set<string>();

  constructor(incarnation: Incarnation, activation: Activation) {
    this.#incarnation = incarnation;
    this.#activation = activation;
  }

  async receive(job: Job, turn: Turn): Promise<null> {
    turn.state.set(["job", job.job], { ...job, done: 0 });
    this.#remindAgain(turn, job.job);
    this.#work(job.job);
    return null;
  }

  async remind(reminder: Reminder, turn: Turn): Promise<void> {
    const { steps: all, done } = (await turn.state.get<Job & { done: number }>(["job", reminder.name]))!;
    if (done === all) return;
    this.#remindAgain(turn, reminder.name);
    this.#work(reminder.name);
  }

  #remindAgain(turn: Turn, job: string): void {
    turn.remind(job, { due: this.#incarnation.environment.clock.now() + reminderMilliseconds, earlyAfterRestart: true });
  }

  #work(job: string): void {
    if (this.#working.has(job)) return;
    this.#working.add(job);
    this.#activation.background(this.#steps(job).finally(() => void this.#working.delete(job)));
  }

  async #steps(job: string): Promise<void> {
    const { clock } = this.#incarnation.environment;
    for (let isDone = false; !isDone;) {
      const pause = await this.#activation.turn(async (turn) => await this.#step(turn, job));
      isDone = pause === undefined;
      await clock.sleep(pause ?? 0, this.#activation.signal);
    }
  }

  /** Does the next step, and gives the pause after it; `undefined` when there is none left. */
  async #step(turn: Turn, name: string): Promise<number | undefined> {
    const job = (await turn.state.get<Job & { done: number }>(["job", name]))!;
    if (job.done === job.steps) {
      turn.remind(name, undefined);
      return undefined;
    }
    turn.state.set(["log"], [...((await turn.state.get<string[]>(["log"])) ?? []), `${name}/${job.done}`]);
    turn.state.set(["job", name], { ...job, done: job.done + 1 });
    return job.pauseMilliseconds;
  }
}
