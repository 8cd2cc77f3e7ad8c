/** A node under test: the real composition, with actors and tools of the test's, and a planted bug if it is to have one. */
import { NodeNameTakenError } from "../../src/cluster/cluster.ts";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie } from "../../src/kelpie.ts";
import { StoreUnavailableError } from "../../src/storage/store.ts";
import { countingTools } from "../crash/counting-tools.ts";
import { objectActors } from "./objects.ts";
import { plant } from "./planted.ts";

export interface NodeSettings {
  readonly name: string;
  readonly incarnation: string;
  readonly host: string;
  readonly storeAddress: string;
  readonly secret: string;
  readonly apiKey: string;
  readonly modelUrl: string;
  readonly toolUrl: string;
  readonly planted: string | null;
}

/** Exit codes: the other nodes took this one to be dead; and it could not start now, but may later. */
export const exitCodes = { fenced: 4, notNow: 5 } as const;
export const apiPort = 8283;

if (process.env["CLUSTER_NODE"] !== undefined) await main(JSON.parse(process.env["CLUSTER_NODE"]) as NodeSettings);

async function main(settings: NodeSettings): Promise<void> {
  if (settings.planted !== null) plant(settings.planted);
  const { name, host, secret, apiKey } = settings;
  try {
    const kelpie = await createKelpie({
      storeAddress: settings.storeAddress,
      cluster: { name, host, secret, onFenced: () => process.exit(exitCodes.fenced) },
      environment: new RealEnvironment({ level: "info" }),
      providers: { OPENAI_API_KEY: "scripted", OPENAI_API_BASE: settings.modelUrl },
      tools: countingTools(settings.toolUrl),
      actors: objectActors(settings.incarnation),
      leaveMilliseconds: 500,
    });
    process.once("SIGTERM", () => void kelpie.close().then(() => process.exit(0)));
    await kelpie.serve({ host, port: apiPort, apiKey });
    process.stdout.write("ready\n");
  } catch (error) {
    process.stderr.write(`${String(error)}\n`);
    if (!(error instanceof StoreUnavailableError || error instanceof NodeNameTakenError)) throw error;
    process.exit(exitCodes.notNow);
  }
}
