import { formatUuid } from "../base/ids.ts";

/**
 * The id of a tool that every project has: the same for the same project and name on every node and at every start,
 * so that seeding twice gives one row. Not for anything secret: the hash is fast, and anyone can compute it.
 */
export function baseToolId(project: string, name: string): string {
  const text = Buffer.from(JSON.stringify([project, name]), "utf8");
  const bytes = Buffer.alloc(16);
  for (let part = 0; part < 4; part++) bytes.writeUInt32LE(hash32(text, part), part * 4);
  return `tool-${formatUuid(bytes)}`;
}

/** The mixing steps of MurmurHash3 with a byte for each block. */
function hash32(bytes: Uint8Array, seed: number): number {
  let hash = Math.imul(seed + 1, 0x9e3779b1);
  for (const byte of bytes) {
    const mixed = Math.imul(byte + 1, 0xcc9e2d51);
    hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
