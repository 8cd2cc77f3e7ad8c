/** A secret as a row keeps it: sealed, or in clear where a version of before there were keys has written it. */
import { SealError, type SealingKey } from "./sealing-key.ts";

export type StoredSecret = string | { readonly sealed: string };

/** Gives the key, which may be made at the first call. Undefined: there is none. */
export type FindSealingKey = () => SealingKey | undefined;

/** `name`: what the secret is, and where it is kept. @throws {SealError} There is no key. */
export function sealSecret(findKey: FindSealingKey, text: string, name: string): StoredSecret {
  return { sealed: keyOf(findKey).seal(text, name) };
}

/** @throws {SealError} There is no key, or another one. */
export function openSecret(findKey: FindSealingKey, stored: StoredSecret, name: string): string {
  return typeof stored === "string" ? stored : keyOf(findKey).open(stored.sealed, name);
}

function keyOf(findKey: FindSealingKey): SealingKey {
  const key = findKey();
  if (key === undefined)
    throw new SealError("There is no key to keep secrets under: set KELPIE_SEALING_KEY, to the same at all nodes of a cluster");
  return key;
}
