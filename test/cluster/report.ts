/** A result in words. */
import { join } from "node:path";
import type { Failover } from "./fault-log.ts";
import type { RunResult } from "./inside.ts";

const shownMax = 20;

export function summary(result: RunResult): string {
  const { histories, tasks, failovers } = result;
  const faults = Object.entries(result.faults);
  const total = faults.reduce((sum, [, count]) => sum + count, 0);
  return `seed ${result.seed}, ${result.seconds} s
operations ${histories.operations} (outcome unknown ${histories.unknown}), tasks of agents ${tasks.asked}, finished ${tasks.finished}
faults ${total}: ${faults.map(([kind, count]) => `${kind} ${count}`).join(", ")}
starts of nodes ${result.starts}, self-fencings ${result.fencings}
histories ${histories.checked}, not linearizable ${histories.bad.length}, undecided ${histories.undecided.length === 0 ? 0 : `${histories.undecided.length} (${histories.undecided.join(" ")})`}
lost ${result.lost.length}, effects ${tasks.effects}, repeated effects ${result.repeatedEffects.length}, reported unknown ${tasks.unknown}
streams resumed ${tasks.resumed}, with a gap or a repeat ${result.streams.length}
failovers ${failovers.length}: p50 ${quantile(failovers, 0.5)}, max ${quantile(failovers, 1)}
anything else wrong ${result.wrong.length}
`;
}

/** What was wrong, and where more of it is. */
export function evidence(result: RunResult, kept: string | undefined): string {
  const problems = [
    ...result.histories.bad.map((file) => `not linearizable: ${kept === undefined ? file : join(kept, file)}`),
    ...result.lost,
    ...result.repeatedEffects,
    ...result.streams,
    ...result.wrong,
  ];
  const lines = problems.slice(0, shownMax).map((problem) => `  ${problem}\n`);
  if (problems.length > shownMax) lines.push(`  and ${problems.length - shownMax} more\n`);
  return lines.join("") + (kept === undefined ? "" : `What the nodes wrote is in ${kept}\n`);
}

function quantile(failovers: readonly Failover[], share: number): string {
  const sorted = failovers.toSorted((left, right) => left.milliseconds - right.milliseconds);
  const found = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return found === undefined ? "none" : `${(found.milliseconds / 1_000).toFixed(2)} s (${found.fault})`;
}
