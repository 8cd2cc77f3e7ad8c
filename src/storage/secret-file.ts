/** A secret that the processes over one store file share: kept beside it, for who may read that. An adapter. */
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Random } from "../environment/environment.ts";

const secretBytes = 32;

export function hasSecretFile(path: string): boolean {
  return existsSync(path);
}

/** The secret in the file at `path`; made, once for all who ask at the same time, if there is none. Throws what the file system throws. */
export function secretFile(path: string, random: Random): Uint8Array {
  // Whole from the moment that it has its name: another process may read it at once.
  const draft = `${path}.${random.uuid()}`;
  writeFileSync(draft, Buffer.from(random.bytes(secretBytes)).toString("base64url"), { mode: 0o600, flag: "wx" });
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft);
  }
  return Buffer.from(readFileSync(path, "utf8").trim());
}
