/** The secret of nodes that share a store file: kept beside it, for who may read that. An adapter. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../environment/environment.ts";
import { secretFile } from "../storage/secret-file.ts";
import { secretBytesMin } from "./hello.ts";

/** The secret in `directory`; made, once for all who ask at the same time, if there is none. */
export function makeSecret(directory: string, random: Random): Uint8Array {
  return checked(pathIn(directory), secretFile(pathIn(directory), random));
}

/** Throws what the file system throws, and an `Error` for a file that holds no secret. */
export function readSecret(directory: string): Uint8Array {
  const path = pathIn(directory);
  return checked(path, Buffer.from(readFileSync(path, "utf8").trim()));
}

function checked(path: string, secret: Uint8Array): Uint8Array {
  if (secret.length < secretBytesMin) throw new Error(`${path} holds no secret: stop the nodes that use it, and delete it`);
  return secret;
}

function pathIn(directory: string): string {
  return join(directory, "cluster-secret");
}
