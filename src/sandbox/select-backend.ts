/** Which sandbox runs code: the strongest that this host has, and never one that is weaker than was asked for. */
import { type BackendInfo, isAtLeast, type Isolation, IsolationError } from "./sandbox.ts";

/** A backend that is there, or why it is not. */
export type Candidate<Backend extends { readonly info: BackendInfo }> =
  | { readonly name: string; readonly backend: Backend }
  | { readonly name: string; readonly problem: string };

/**
 * Of `candidates`, in the owner's order of preference, the first that is strong enough.
 *
 * @throws {IsolationError} There is none; the message says why of each.
 */
export function selectBackend<Backend extends { readonly info: BackendInfo }>(
  candidates: readonly Candidate<Backend>[],
  asked: Isolation,
): Backend {
  for (const candidate of candidates)
    if ("backend" in candidate && isAtLeast(candidate.backend.info.capabilities.isolation, asked)) return candidate.backend;
  const reasons = candidates.map((candidate) =>
    "backend" in candidate
      ? `${candidate.name} isolates by "${candidate.backend.info.capabilities.isolation}" only`
      : `${candidate.name}: ${candidate.problem}`,
  );
  throw new IsolationError(`Cannot run code that asks for the isolation "${asked}": ${reasons.join("; ") || "this host has no sandbox"}`);
}
