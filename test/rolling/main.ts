/** Rolling restarts at full size: `npm run test:rolling -- --nodes 3 --rounds 2 --clients 20`. */
import { countOf, readOptions } from "../../scripts/options.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { rollingRestart } from "./rolling-restart.ts";

const command = "npm run test:rolling --";
const { values } = readOptions({
  command,
  help: `${command} [--nodes 3] [--rounds 2] [--clients 20] [--json]

Restarts the nodes of a cluster over PostgreSQL one after the other, while clients use them through a load
balancer, and checks that no request fails, nothing is lost, and every stream is one sequence. Exit code 1 if a
check fails.
`,
  options: {
    nodes: { type: "string", default: "3" },
    rounds: { type: "string", default: "2" },
    clients: { type: "string", default: "20" },
    json: { type: "boolean", default: false },
  },
});
if (postgresMissing !== undefined) {
  process.stderr.write(`${postgresMissing}\n`);
  process.exit(1);
}
await using postgres = await PostgresServer.start();
const startedAt = performance.now();
const { verdict, failures, exitCodes, ...counts } = await rollingRestart({
  store: postgres.address,
  nodes: countOf(command, "nodes", values.nodes),
  rounds: countOf(command, "rounds", values.rounds),
  clients: countOf(command, "clients", values.clients),
  checkMilliseconds: 250,
  // Streams are longer than a node waits for them, so that some are cut and go on at another one.
  leaveSeconds: 4,
  stopSeconds: 1,
  eventMilliseconds: 100,
  onRestart: (name) => process.stderr.write(`restarts ${name}\n`),
});
const notClean = exitCodes.filter((code) => code !== 0).map((code) => `A node ended with exit code ${code}`);
const problems = [...failures, ...notClean, ...verdict.lost, ...verdict.duplicated, ...verdict.repeated, ...verdict.wrong];
const seconds = Math.round((performance.now() - startedAt) / 1_000);
if (values.json) process.stdout.write(`${JSON.stringify({ ...counts, failed: failures.length, ...verdict, problems, seconds })}\n`);
else {
  process.stdout.write(
    `restarts ${counts.restarts}, requests ${counts.requests}, failed ${failures.length}, sent to another node ${counts.triedAgain}, ` +
      `tasks ${counts.tasks}, unfinished ${counts.unfinished}, streams ${counts.streams}, resumed ${counts.resumed}, lost ${verdict.lost.length}, ` +
      `repeated ${verdict.duplicated.length}, histories not allowed ${verdict.wrong.length} (${seconds} s)\n`,
  );
  for (const problem of problems.slice(0, 20)) process.stdout.write(`  ${problem}\n`);
}
process.exitCode = problems.length === 0 && counts.unfinished === 0 ? 0 : 1;
