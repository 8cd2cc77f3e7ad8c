/** Messages that were given up because turns threw over them again and again. They stay until somebody has looked. */
import { decodeJson } from "../base/json.ts";
import { decodeTuple, type Tuple, tupleRange } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";
import type { ActorId } from "./actor.ts";
import { deadLetterPrefix, type DeadLetterRow, inboxPrefix, inboxSizeKey, type SentRow } from "./actor-rows.ts";

export interface DeadLetter extends DeadLetterRow {
  readonly sender: ActorId;
  readonly receiver: ActorId;
  /** Of its row; what `after` takes. */
  readonly path: Tuple;
}

/** The dead letters of a project, of a type of receivers, or of one receiver, in the order of their paths; `limit`: at most 1,000. */
export async function listDeadLetters(
  store: Store,
  of: { readonly project: string; readonly type?: string; readonly key?: string },
  options: { readonly limit: number; readonly after?: Tuple },
): Promise<readonly DeadLetter[]> {
  const names = of.type === undefined ? [] : of.key === undefined ? [of.type] : [of.type, of.key];
  const { begin, end } = tupleRange(deadLetterPrefix(of.project, ...names));
  const from = options.after === undefined ? begin : tupleRange(options.after).begin;
  const [rows = []] = await store.read([{ begin: from, end, limit: options.limit }]);
  return rows.map(({ key, value }) => {
    const path = decodeTuple(key);
    const [project, , type, receiverKey, senderType, senderKey] = path as [string, string, string, string, string, string];
    return {
      ...decodeJson<DeadLetterRow>(value),
      receiver: { project, type, key: receiverKey },
      sender: { project, type: senderType, key: senderKey },
      path,
    };
  });
}

/**
 * Puts a dead letter back into the inbox that it came from, as if it had never been tried, before what the same sender
 * has waiting there. It is handled within ten seconds. False: it is no dead letter any more.
 *
 * @throws {ConflictError} @throws {StoreUnavailableError}
 */
export async function redeliverDeadLetter(store: Store, environment: Environment, letter: DeadLetter): Promise<boolean> {
  return await transact(store, environment, async (rows) => {
    const row = await rows.get<DeadLetterRow>(letter.path);
    if (row === undefined) return false;
    rows.delete(letter.path);
    const sent: SentRow = { at: row.at, message: row.message };
    rows.set([...inboxPrefix(letter.receiver, letter.sender), ...letter.path.slice(-2)], sent);
    rows.add(inboxSizeKey(letter.receiver), 1);
    return true;
  });
}

/** Deletes a dead letter. */
export async function discardDeadLetter(store: Store, environment: Environment, letter: DeadLetter): Promise<void> {
  await transact(store, environment, async (rows) => rows.delete(letter.path));
}
