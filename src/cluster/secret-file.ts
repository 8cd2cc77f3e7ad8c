/** The secret of nodes that share a store file: kept beside it, for who may read that. An adapter. */
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../environment/environment.ts";
import { secretBytesMin } from "./hello.ts";

const secretBytes = 32;

/** The secret in `directory`; made, once for all who ask at the same time, if there is none. */
export function makeSecret(directory: string, random: Random): Uint8Array {
  const path = pathIn(directory);
  // Whole from the moment that it has its name: another node may read it at once.
  const draft = `${path}.${random.uuid()}`;
  writeFileSync(draft, Buffer.from(random.bytes(secretBytes)).toString("base64url"), { mode: 0o600, flag: "wx" });
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft);
  }
  return readSecret(directory);
}

/** Throws what the file system throws, and an `Error` for a file that holds no secret. */
export function readSecret(directory: string): Uint8Array {
  const path = pathIn(directory);
  const secret = Buffer.from(readFileSync(path, "utf8").trim());
  if (secret.length < secretBytesMin) throw new Error(`${path} holds no secret: stop the nodes that use it, and delete it`);
  return secret;
}

function pathIn(directory: string): string {
  return join(directory, "cluster-secret");
}
