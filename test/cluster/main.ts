/** Three real nodes under seeded faults: `npm run test:cluster -- --minutes 5 --seed 1`. */
import { readOptions } from "../../scripts/options.ts";
import { isGood, launch } from "./launch.ts";
import { planted } from "./planted.ts";
import { evidence, summary } from "./report.ts";
import { clusterMissing } from "./requirements.ts";

const help = `npm run test:cluster -- [--minutes 5] [--seed 1] [--planted NAME|all] [--json]

Runs three nodes in network namespaces over a PostgreSQL of their own, for so long, while clients use them and nodes
are killed, paused and cut off, clocks jump and the store is restarted, as the seed says. Checks that every history is
linearizable, that nothing acknowledged is lost, and that no effect is repeated. Exit code 1 if a check fails, 2 if
the test cannot be run here.

--planted runs with a bug in the nodes, and tells whether the checks have caught it; all: one run for each.
${Object.entries(planted)
  .map(([name, { breaks }]) => `  ${name}: ${breaks}\n`)
  .join("")}`;

const { values } = readOptions({
  command: "npm run test:cluster --",
  help,
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    planted: { type: "string" },
    json: { type: "boolean", default: false },
  },
});

/** What shells give for a program that was ended by Ctrl-C. */
const interrupted = 130;

const [minutes, seed, bug] = [Number(values.minutes), Number(values.seed), values.planted];
process.exitCode = await main();

async function main(): Promise<number> {
  const isUnderstood = minutes > 0 && minutes <= 1_440 && Number.isSafeInteger(seed);
  if (!isUnderstood || !(bug === undefined || bug === "all" || Object.hasOwn(planted, bug))) {
    process.stderr.write(help);
    return 2;
  }
  const missing = clusterMissing();
  if (missing !== undefined) {
    process.stderr.write(`The cluster test cannot be run here: ${missing}\n`);
    return 2;
  }
  if (bug === undefined) return await runOnce();
  return await runPlanted(bug === "all" ? Object.keys(planted) : [bug]);
}

async function runOnce(): Promise<number> {
  const launched = await launch({ seed, seconds: minutes * 60, planted: null, verbose: true });
  if (launched === undefined) return interrupted;
  const { result, kept } = launched;
  process.stdout.write(values.json ? `${JSON.stringify({ ...result, kept })}\n` : summary(result) + evidence(result, kept));
  return isGood(result) ? 0 : 1;
}

async function runPlanted(names: readonly string[]): Promise<number> {
  let missed = 0;
  for (const name of names) {
    const launched = await launch({ seed, seconds: minutes * 60, planted: name, verbose: true });
    if (launched === undefined) return interrupted;
    const { result, kept } = launched;
    const isCaught = !isGood(result);
    if (!isCaught) missed++;
    process.stdout.write(`${name}: ${isCaught ? "caught" : "not caught"}\n${summary(result)}${evidence(result, kept)}`);
  }
  return missed === 0 ? 0 : 1;
}
