/**
 * A queue of jobs that two workers claim from, and customers who are told when a job of theirs is done.
 *
 * A job is a row that no actor owns. To claim one, to hand it to the other worker, and to finish it each change several
 * rows in one batch, or none: when both workers reach for one job, one of them finds it gone and takes the next. "Done"
 * is a message, sent in the batch that finishes the job: the customer gets it once, also over a restart.
 *
 * Run it with `node_modules/.bin/node examples/jobs.ts`. It checks what it sees, and fails if something is wrong.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Activation, Turn } from "../src/actors/actor.ts";
import { RealEnvironment } from "../src/environment/real-environment.ts";
import { actorOf, createKelpie, defineActor, type Kelpie, sendTo } from "../src/kelpie.ts";
import { transact } from "../src/storage/transaction.ts";

interface Job {
  readonly id: string;
  readonly customer: string;
}

/** Where the jobs are that nobody has claimed, and those of one worker. */
const waiting = ["default", "job", "waiting"];
const claimedBy = (worker: string): string[] => ["default", "job", "claimed", worker];

const Customer = defineActor({
  type: "customer",
  methods: {
    async done(turn: Turn, { id, worker }: { id: string; worker: string }) {
      const told = (await turn.state.get<string[]>(["told"])) ?? [];
      turn.state.set(["told"], [...told, `${id} by ${worker}`]);
    },
    async told(turn: Turn) {
      return (await turn.state.get<string[]>(["told"])) ?? [];
    },
  },
});

const Worker = defineActor({
  type: "worker",
  methods: {
    /** Takes one of the oldest jobs. `undefined`: none is left. */
    async claim(turn: Turn, _: undefined, { id }: Activation) {
      for (const { value } of await turn.shared.list<Job>(waiting, { limit: 10 })) {
        // The list may be out of date. What `get` answers is checked when the turn commits, and the turn runs again if
        // it is not true any more.
        const job = await turn.shared.get<Job>([...waiting, value.id]);
        if (job === undefined) continue;
        turn.shared.delete([...waiting, job.id]);
        turn.shared.set([...claimedBy(id.key), job.id], job);
        return job;
      }
      return undefined;
    },
    async handOver(turn: Turn, { job, to }: { job: Job; to: string }, { id }: Activation) {
      assert.ok(await turn.shared.get([...claimedBy(id.key), job.id]));
      turn.shared.delete([...claimedBy(id.key), job.id]);
      turn.shared.set([...claimedBy(to), job.id], job);
    },
    async finish(turn: Turn, job: Job, { id }: Activation) {
      // Whoever asks twice, because he did not hear the first answer, finishes nothing twice.
      if ((await turn.shared.get([...claimedBy(id.key), job.id])) === undefined) return;
      turn.shared.delete([...claimedBy(id.key), job.id]);
      sendTo(turn, Customer, job.customer).done({ id: job.id, worker: id.key });
    },
  },
});

const customers = ["ada", "grace", "alan"];
const jobs = Array.from({ length: 60 }, (_, at): Job => ({ id: `job-${10 + at}`, customer: customers[at % 3]! }));

/** Works on jobs until none is left, or `most` are done; every fifth is for the other worker to finish. */
async function work(kelpie: Kelpie, name: string, other: string, most: number): Promise<void> {
  const worker = actorOf(kelpie.actors, Worker, name);
  for (let done = 0; done < most; done++) {
    const job = await worker.claim();
    if (job === undefined) return;
    if (done % 5 !== 4) await worker.finish(job);
    else {
      await worker.handOver({ job, to: other });
      await actorOf(kelpie.actors, Worker, other).finish(job);
      await actorOf(kelpie.actors, Worker, other).finish(job);
    }
  }
}

const dataDirectory = mkdtempSync(join(tmpdir(), "kelpie-jobs-"));
try {
  const actors = [Customer, Worker];
  {
    await using kelpie = await createKelpie({ dataDirectory, actors });
    await kelpie.serve({ port: 0 });
    await transact(kelpie.store, new RealEnvironment(), async (rows) => {
      for (const job of jobs) rows.set([...waiting, job.id], job);
    });
    await Promise.all([work(kelpie, "left", "right", 20), work(kelpie, "right", "left", 20)]);
    // Ends before every customer has heard of every job.
  }
  await using kelpie = await createKelpie({ dataDirectory, actors });
  await kelpie.serve({ port: 0 });
  await Promise.all([work(kelpie, "left", "right", 100), work(kelpie, "right", "left", 100)]);
  const told = new Map<string, string[]>();
  for (const customer of customers) {
    let lines: string[] = [];
    while (lines.length < jobs.length / 3) {
      await setImmediate();
      lines = await actorOf(kelpie.actors, Customer, customer).told();
    }
    told.set(customer, lines);
    const by = (worker: string): number => lines.filter((line) => line.endsWith(worker)).length;
    console.log(`${customer} was told of ${lines.length} jobs: ${by("left")} by left, ${by("right")} by right`);
  }
  for (const [customer, lines] of told)
    assert.deepEqual(
      lines.map((line) => line.split(" ")[0]).toSorted(),
      jobs.filter((job) => job.customer === customer).map(({ id }) => id),
      `${customer} has heard of each job once`,
    );
  await transact(kelpie.store, new RealEnvironment(), async (rows) =>
    assert.deepEqual(await rows.list(["default", "job"], { limit: 100 }), [], "No job is left, claimed or not"),
  );
} finally {
  rmSync(dataDirectory, { recursive: true, force: true });
}
