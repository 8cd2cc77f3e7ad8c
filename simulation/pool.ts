import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { FileBranches } from "./branches.ts";
import type { Job, JobResult } from "./jobs.ts";

/** To a worker: a job, or the question which branches of the code under test its jobs came to. */
export type WorkerRequest = Job | { readonly kind: "branches" };

/** Of one request: code that spins would keep a thread for ever. */
const answerMillisecondsMax = 1_800_000;

/**
 * Runs jobs on `threads` threads and tells of each result as it comes. With `withBranches` it gives, for each thread,
 * which branches of the code under test were reached.
 */
export async function runJobs(
  jobs: readonly Job[],
  options: { readonly threads: number; readonly withBranches?: boolean; readonly onResult: (result: JobResult) => void },
): Promise<readonly (readonly FileBranches[])[]> {
  const { threads, withBranches = false, onResult } = options;
  const waiting = jobs.values();
  const lane = async (): Promise<readonly FileBranches[]> => {
    const worker = new Worker(new URL("worker.ts", import.meta.url), { workerData: { withBranches } });
    const ask = async (request: WorkerRequest): Promise<unknown> => {
      const answer = once(worker, "message", { signal: AbortSignal.timeout(answerMillisecondsMax) });
      worker.postMessage(request);
      try {
        return ((await answer) as [unknown])[0];
      } catch (cause) {
        throw new Error(`No answer to ${JSON.stringify(request)}: code that is simulated spins, or the simulation has a bug`, { cause });
      }
    };
    try {
      for (const job of waiting) onResult((await ask(job)) as JobResult);
      return withBranches ? ((await ask({ kind: "branches" })) as readonly FileBranches[]) : [];
    } finally {
      await worker.terminate();
    }
  };
  return await Promise.all(Array.from({ length: Math.min(threads, jobs.length) }, lane));
}
