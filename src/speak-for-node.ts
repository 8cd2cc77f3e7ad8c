/** What a supervisor says in the store in the place of its server. */
import { reportDead } from "./cluster/report-dead.ts";
import { vouchFor } from "./cluster/vouch-for.ts";
import { RealEnvironment } from "./environment/real-environment.ts";
import { openStore, type StorePlace } from "./open-store.ts";

/** That the server has ended, or that it is busy and lives. May run twice. @throws What opening the store throws. */
export async function speakForNode(what: "ended" | "busy", node: string, place: StorePlace): Promise<void> {
  const environment = new RealEnvironment({ level: "error" });
  await using store = await openStore(place, { environment });
  await (what === "ended" ? reportDead : vouchFor)(store, environment, node);
}

/** Loads what `speakForNode` needs, as that takes longer than all the rest of it. */
export async function prepareToSpeak({ kind }: StorePlace): Promise<void> {
  if (kind === "postgres") await import("./storage/postgres-store.ts");
}
