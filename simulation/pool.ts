import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Job, JobResult } from "./jobs.ts";

/** Runs jobs on `threads` threads and tells of each result as it comes. */
export async function runJobs(jobs: readonly Job[], threads: number, onResult: (result: JobResult) => void): Promise<void> {
  const waiting = [...jobs];
  const lane = async (): Promise<void> => {
    const worker = new Worker(new URL("worker.ts", import.meta.url));
    try {
      for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
        const answer = once(worker, "message");
        worker.postMessage(job);
        const [result] = (await answer) as [JobResult];
        onResult(result);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(threads, jobs.length) }, lane));
}
