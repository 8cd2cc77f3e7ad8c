/** Policies as rows: one of a project, and one of each agent that has its own. */
import { isDeepStrictEqual } from "node:util";
import { decodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";
import { noPolicy, type ToolPolicy } from "./tool-policy.ts";

/** A policy is another one than whoever changes it has seen. */
export class PolicyChangedError extends Error {
  override readonly name = "PolicyChangedError";
}

/** Whose policy: an agent's, or the project's own. */
export type PolicyOwner = { readonly agentId: string } | "project";

export interface Policies {
  readonly project: ToolPolicy;
  readonly agent: ToolPolicy;
}

/** Both of an agent, from one snapshot. */
export async function readPolicies(store: Store, project: string, agentId: string): Promise<Policies> {
  const [ofProject, ofAgent] = await readRows(store, [policyKey(project, "project"), policyKey(project, { agentId })]);
  return { project: ofProject!, agent: ofAgent! };
}

export async function readPolicy(store: Store, project: string, owner: PolicyOwner): Promise<ToolPolicy> {
  return (await readRows(store, [policyKey(project, owner)]))[0]!;
}

async function readRows(store: Store, keys: readonly Tuple[]): Promise<ToolPolicy[]> {
  const answers = await store.read(keys.map((key) => ({ key: encodeTuple(key) })));
  return answers.map(([row]) => (row === undefined ? noPolicy : decodeJson<ToolPolicy>(row.value)));
}

/**
 * Puts `policy` in the place of the one that has `version`, or of any. May be repeated: where it is there already, nothing
 * changes.
 *
 * @throws {PolicyChangedError}
 */
export async function replacePolicy(
  transaction: Transaction,
  project: string,
  owner: PolicyOwner,
  { version, ...policy }: Omit<ToolPolicy, "version"> & { readonly version: number | undefined },
): Promise<ToolPolicy> {
  const key = policyKey(project, owner);
  const before = (await transaction.get<ToolPolicy>(key)) ?? noPolicy;
  if (isDeepStrictEqual(before, { ...policy, version: before.version })) return before;
  if (version !== undefined && version !== before.version)
    throw new PolicyChangedError(
      `The policy has version ${before.version} and not ${version}: somebody has changed it meanwhile. Read it again`,
    );
  const after: ToolPolicy = { ...policy, version: before.version + 1 };
  transaction.set(key, after);
  return after;
}

/** With its agent. */
export function deletePolicy(transaction: Transaction, project: string, agentId: string): void {
  transaction.delete(policyKey(project, { agentId }));
}

function policyKey(project: string, owner: PolicyOwner): Tuple {
  return owner === "project" ? [project, "tool_policy"] : [project, "tool_policy", owner.agentId];
}
