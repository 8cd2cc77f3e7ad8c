/** One thread that runs jobs, one at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { BranchRecorder } from "./branches.ts";
import type { WorkerRequest } from "./pool.ts";

// V8 counts the blocks of code that it compiles from now on, so the code under test is loaded afterwards.
const recorder = (workerData as { readonly withBranches: boolean }).withBranches ? await BranchRecorder.start() : undefined;
const { runJob } = await import("./jobs.ts");

parentPort!.on("message", (request: WorkerRequest) => {
  const answer = request.kind === "branches" ? recorder!.take() : runJob(request);
  // A failing job ends the thread, and the command with it: that is a bug of the simulation, not a violation.
  void answer.then((result) => parentPort!.postMessage(result));
});
