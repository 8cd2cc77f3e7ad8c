import { createHash } from "node:crypto";

/** What providers of models take as a tool's name. */
const charactersMax = 64;
const hashCharacters = 8;

/**
 * The name under which a project has a tool of a server: `server__tool`, of `a-z A-Z 0-9 _ -`. Where characters had to be
 * replaced or cut, a part of a hash keeps names apart that would be the same.
 */
export function mcpToolName(server: string, tool: string): string {
  const wanted = `${server}__${tool}`;
  const plain = wanted.replaceAll(/[^a-zA-Z0-9_-]/gu, "_");
  if (plain === wanted && plain.length <= charactersMax) return plain;
  const hash = createHash("sha256")
    .update(JSON.stringify([server, tool]))
    .digest("hex")
    .slice(0, hashCharacters);
  return `${plain.slice(0, charactersMax - hashCharacters - 1)}_${hash}`;
}
