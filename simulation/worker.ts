/** One thread that runs jobs, one at a time. */
import { parentPort } from "node:worker_threads";
import { type Job, runJob } from "./jobs.ts";

parentPort!.on("message", (job: Job) => {
  // A failing job ends the thread, and the command with it: that is a bug of the simulation, not a violation.
  void runJob(job, () => performance.now()).then((result) => parentPort!.postMessage(result));
});
