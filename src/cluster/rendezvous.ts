/**
 * Rendezvous hashing: who of several nodes gets a key, with nothing to agree on but the nodes.
 *
 * V1. Each node gets its share of the keys by weight.
 * V2. When a node goes, only its keys move; when one comes, keys move only to it.
 *
 * The score of a node is `weight / -ln(hash)`: see "Weighted Distributed Hash Tables", Schindelhauer and Schomaker, 2005.
 */
import { fingerprint } from "../actors/fingerprint.ts";

export interface Candidate {
  readonly node: string;
  /** Above 0. */
  readonly capacity: number;
}

/** The candidate for `key`; `undefined` if there is none. The order of the candidates does not matter. */
export function rendezvous<T extends Candidate>(key: string, candidates: Iterable<T>): T | undefined {
  let best: T | undefined;
  let bestScore = -Infinity;
  for (const candidate of candidates) {
    const score = scoreOf(key, candidate);
    if (best !== undefined && (score < bestScore || (score === bestScore && candidate.node > best.node))) continue;
    best = candidate;
    bestScore = score;
  }
  return best;
}

/** Above 0; `fingerprint` has 53 bits, of which none are 0 for the logarithm's sake. */
function scoreOf(key: string, { node, capacity }: Candidate): number {
  const hash = (fingerprint(`${node}\0${key}`) + 0.5) / 2 ** 53;
  return capacity / -Math.log(hash);
}
