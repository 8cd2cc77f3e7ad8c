import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { commitUntilKnown } from "../storage/transaction.ts";
import { memberCheck, memberWrite, readMember } from "./member-rows.ts";

/**
 * Renews a member's row in its place, for whoever knows that its process lives but is busy, such as its supervisor: the
 * others do not take it to be dead meanwhile.
 *
 * It gives the member no lease, which only its own renewals do (C4): that its next one fails shows it this one (M1), on
 * which it then renews. One that is dead stays so. May run twice.
 */
export async function vouchFor(store: Store, environment: Environment, node: string): Promise<void> {
  const row = await readMember(store, node);
  if (row === undefined || row.member.state === "dead") return;
  // If it fails, the member has spoken for itself, or others about it.
  await commitUntilKnown(store, environment, {
    id: environment.random.uuid(),
    checks: [memberCheck(node, row.version)],
    writes: [memberWrite({ ...row.member, beat: row.member.beat + 1 })],
  });
}
