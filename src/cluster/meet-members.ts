import type { Store } from "../storage/store.ts";
import { readCluster } from "./member-rows.ts";
import { statusMethod } from "./node-operations.ts";
import { HandshakeError, type Transport } from "./transport.ts";

const meetMilliseconds = 2_000;

/**
 * Greets every member over the same store: one that has another secret, or a certificate of another authority, would
 * take actors that this node could not reach. One that does not answer may be about to end, and is no reason.
 *
 * @throws {HandshakeError} Says which of the two must change.
 */
export async function meetMembers(store: Store, transport: Transport): Promise<void> {
  const { members } = await readCluster(store);
  await Promise.all(
    members.map(async ({ member: { state, address } }) => {
      if (state === "dead" || address === null) return;
      try {
        await transport.request(address, statusMethod, {}, { timeoutMilliseconds: meetMilliseconds, class: "control" });
      } catch (error) {
        if (error instanceof HandshakeError) throw error;
      }
    }),
  );
}
