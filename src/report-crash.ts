/** Tells a cluster of the end of a node that could not do so itself. Loaded by its supervisor when that has happened. */
import { reportDead } from "./cluster/report-dead.ts";
import { RealEnvironment } from "./environment/real-environment.ts";
import { openStore, type StorePlace } from "./open-store.ts";

/** May run twice. @throws What opening the store throws. */
export async function reportCrash(node: string, place: StorePlace): Promise<void> {
  const environment = new RealEnvironment({ level: "error" });
  await using store = await openStore(place, { environment });
  await reportDead(store, environment, node);
}
