/**
 * The official conformance suite of the Model Context Protocol, run on Kelpie's own client and server code, for both revisions
 * that are spoken. Prints how many scenarios passed, and why others did not.
 *
 *     npm run test:mcp-conformance
 *
 * The suite asks a server for tools of its own by name. So the server is tested twice: Kelpie's endpoint with those tools in
 * place of agents, and the `/mcp` of a Kelpie as it is, with the scenarios that need none.
 */
import { ServerProcess } from "../../examples/start-server.ts";
import { judge, reasons, revisions, testClient, testOwnServer, testServer } from "./conformance-suite.ts";

await using kelpie = await ServerProcess.start();
let isGood = true;
for (const revision of revisions)
  for (const verdict of [
    judge(`\nKelpie's client, ${revision}`, await testClient(revision), reasons.client[revision]),
    judge(`\nKelpie's server with the suite's tools, ${revision}`, await testServer(revision), reasons.server[revision]),
    judge(`\nKelpie's server as it is, ${revision}`, await testOwnServer(kelpie.url, revision), {}),
  ]) {
    console.log(verdict.text);
    isGood &&= verdict.isGood;
  }
process.exitCode = isGood ? 0 : 1;
