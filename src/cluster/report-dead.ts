import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { commitUntilKnown } from "../storage/transaction.ts";
import { announcement, memberCheck, type MemberRow, memberWrite, readMember } from "./member-rows.ts";

/** A process that has ended renews nothing, but a commit of its may still have been on its way. */
const attemptsMax = 8;

/**
 * Says that a node is dead, for whoever has seen its process end, such as its supervisor: its actors are free at once.
 * The actors of a node that still runs may answer stale reads until its lease is over.
 */
export async function reportDead(store: Store, environment: Environment, node: string): Promise<void> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const row = await readMember(store, node);
    if (row === undefined || row.member.state === "dead") return;
    if (await declareDead(store, environment, row)) return;
  }
}

/** False: the member has shown a sign of life since `row` was read (C2). */
export async function declareDead(store: Store, environment: Environment, { member, version }: MemberRow): Promise<boolean> {
  const outcome = await commitUntilKnown(store, environment, {
    id: environment.random.uuid(),
    checks: [memberCheck(member.node, version)],
    writes: [memberWrite({ ...member, state: "dead", beat: member.beat + 1 }), announcement()],
  });
  return outcome.ok;
}
