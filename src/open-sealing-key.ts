/**
 * The key that values of the store are sealed with: a setting, or a file beside a store that is a file.
 *
 * Once it has been used, a row says which key it is, so that no other takes its place unnoticed: neither a setting that was
 * changed, nor a new file where the old one was left behind.
 */
import { dirname, join } from "node:path";
import type { Tuple } from "./base/tuple.ts";
import type { Environment } from "./environment/environment.ts";
import type { StorePlace } from "./open-store.ts";
import { SealError, SealingKey } from "./storage/sealing-key.ts";
import { hasSecretFile, secretFile } from "./storage/secret-file.ts";
import type { Store } from "./storage/store.ts";
import type { FindSealingKey } from "./storage/stored-secret.ts";
import { transact } from "./storage/transaction.ts";

interface SealingSettings {
  readonly environment: Environment;
  readonly store: Store;
  readonly place: StorePlace | undefined;
  readonly secret: string | undefined;
  /** The key of before is lost, and with it what was sealed. */
  readonly isNew: boolean;
}

const idRow: Tuple = ["", "sealing-key"];

/** Gives the key when it is first needed, when its file is made if there is none. Undefined: nothing says what it is. @throws {SealError} */
export async function openSealingKey({ environment, store, place, secret, isNew }: SealingSettings): Promise<FindSealingKey> {
  const { random, log } = environment;
  if (secret !== undefined) log.hide([secret]);
  const path = place?.kind === "sqlite" ? join(dirname(place.path), "sealing-key") : undefined;
  const id = await transact(store, environment, async (transaction) => {
    const used = await transaction.get<string>(idRow);
    if (used === undefined || !isNew) return used;
    transaction.delete(idRow);
    return undefined;
  });
  const giveUp = "or start once with KELPIE_NEW_SEALING_KEY=yes: what was sealed is lost then, and has to be given again";
  if (id !== undefined && secret === undefined && path !== undefined && !hasSecretFile(path))
    throw new SealError(`The key that secrets of the store are sealed with is missing: put the file ${path} back, ${giveUp}`);
  let key: SealingKey | undefined;
  const make = (): SealingKey | undefined => {
    if (secret !== undefined) return new SealingKey(secret, random);
    return path === undefined ? undefined : new SealingKey(secretFile(path, random), random);
  };
  if (id !== undefined) key = make();
  const another = (): SealError => {
    const given = secret === undefined ? `the file ${path}` : "KELPIE_SEALING_KEY";
    return new SealError(`Secrets of the store are sealed with another key than that of ${given}: give the one of before, ${giveUp}`);
  };
  if (id !== undefined && key !== undefined && key.id !== id) throw another();
  let refusal: SealError | undefined;
  return () => {
    if (refusal !== undefined) throw refusal;
    if (key !== undefined) return key;
    key = make();
    if (key !== undefined) void keep(key.id);
    return key;
  };

  /** At the first use in each process, which makes up for a time when it failed. */
  async function keep(own: string): Promise<void> {
    try {
      await transact(store, environment, async (transaction) => {
        const used = await transaction.get<string>(idRow);
        if (used === undefined) transaction.set(idRow, own);
        // Another node was first, just now.
        else if (used !== own) throw (refusal = another());
      });
    } catch (error) {
      log.write("error", "It could not be kept which key secrets are sealed with", { error });
    }
  }
}
