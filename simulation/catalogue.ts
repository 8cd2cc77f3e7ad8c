/** What can be simulated: a new workload or planted bug is one line here. */
import { effectMutants } from "./agent-runs/effect-mutants.ts";
import { agentMutants } from "./agent-runs/mutants.ts";
import { clusterMutants } from "./cluster/mutants.ts";
import { clusterWorkloads } from "./cluster/workloads.ts";
import { foundationDbMutants } from "./foundationdb-mutants.ts";
import { messageMutants } from "./message-mutants.ts";
import { mutants as planted } from "./mutants.ts";
import type { Workload } from "./run.ts";
import { agentRuns } from "./workloads/agent-runs.ts";
import { bank } from "./workloads/bank.ts";
import { effects } from "./workloads/effects.ts";
import { foundationDb } from "./workloads/foundationdb.ts";
import { handover, logs, quarters } from "./workloads/logs.ts";
import { messages } from "./workloads/messages.ts";
import { reminders } from "./workloads/reminders.ts";
import { rows } from "./workloads/rows.ts";
import { steps } from "./workloads/steps.ts";
import { transactions } from "./workloads/transactions.ts";
import type { Mutant } from "./world.ts";

export const workloads: readonly Workload[] = [
  logs,
  handover,
  quarters,
  rows,
  steps,
  bank,
  reminders,
  messages,
  transactions,
  agentRuns,
  effects,
  foundationDb,
  ...clusterWorkloads,
];

export const mutants: readonly Mutant[] = [
  ...planted,
  ...messageMutants,
  ...agentMutants,
  ...effectMutants,
  ...foundationDbMutants,
  ...clusterMutants,
];

export function workloadNamed(name: string): Workload {
  const workload = workloads.find((each) => each.name === name);
  if (workload === undefined)
    throw new RangeError(`There is no workload ${JSON.stringify(name)}: there are ${workloads.map((each) => each.name).join(", ")}`);
  return workload;
}

export function mutantNamed(name: string): Mutant {
  const mutant = mutants.find((each) => each.name === name);
  if (mutant === undefined)
    throw new RangeError(`There is no mutant ${JSON.stringify(name)}: there are ${mutants.map((each) => each.name).join(", ")}`);
  return mutant;
}
