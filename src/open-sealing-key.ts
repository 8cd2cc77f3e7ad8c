/** The key that values of the store are sealed with: a setting, or a file beside a store that is a file. */
import { dirname, join } from "node:path";
import type { Environment } from "./environment/environment.ts";
import type { StorePlace } from "./open-store.ts";
import { SealingKey } from "./storage/sealing-key.ts";
import { secretFile } from "./storage/secret-file.ts";

/** Gives the key when it is first needed, when its file is made if there is none. Undefined: nothing says what it is. */
export function openSealingKey(
  { random }: Environment,
  secret: string | undefined,
  place: StorePlace | undefined,
): () => SealingKey | undefined {
  let key: SealingKey | undefined;
  return () => {
    if (secret !== undefined) return (key ??= new SealingKey(secret, random));
    if (place?.kind !== "sqlite") return undefined;
    return (key ??= new SealingKey(secretFile(join(dirname(place.path), "sealing-key"), random), random));
  };
}
