/**
 * Skills of agents, as rows: `("skill", agent, name)` what the context shows of one, and a tree of its files.
 *
 * K1. A skill is put, replaced and removed whole.
 * K2. What the model sees before it opens one is its name and description, which have limits and are escaped: data.
 */
import { decodeJson } from "../../base/json.ts";
import { tupleRange, type Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import { getAgentLink } from "../../memory/agent-link.ts";
import type { Store } from "../../storage/store.ts";
import { transact, type Transaction } from "../../storage/transaction.ts";
import { checkListing, checkPath, FileTree, FileTreeError, type StoredFile, type TreeLimits } from "../workspace/file-tree.ts";
import { InvalidSkillError, readSkillHead, type SkillHead } from "./skill-file.ts";

export const skillLimits: TreeLimits = { files: 200, fileBytes: 2 * 2 ** 20, totalBytes: 4 * 2 ** 20 };
/** Of one agent. */
export const skillsMax = 30;
export const skillFile = "SKILL.md";

export interface SkillRecord extends SkillHead {
  readonly files: number;
  readonly bytes: number;
  readonly created_at: string;
}

export class SkillNotFoundError extends Error {
  override readonly name = "SkillNotFoundError";
}

/** Gives an agent a skill, in place of one with its name. @throws {InvalidSkillError} */
export async function putSkill(
  { store, environment }: { readonly store: Store; readonly environment: Environment },
  owner: SkillOwner,
  given: readonly (readonly [path: string, bytes: Uint8Array])[],
): Promise<SkillRecord> {
  const { files, head } = checkSkill(given);
  const tree = treeOf(owner, head.name);
  const written = await tree.writeContents(store, environment, files);
  const record: SkillRecord = {
    ...head,
    files: files.size,
    bytes: [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0),
    created_at: new Date(environment.clock.now()).toISOString(),
  };
  try {
    await transact(store, environment, async (transaction) => {
      if ((await getAgentLink(transaction, owner.project, owner.agentId)) === undefined)
        throw new InvalidSkillError("The agent was deleted meanwhile");
      const others = await transaction.list<SkillRecord>(prefixOf(owner), { limit: skillsMax });
      if (others.length === skillsMax && !others.some(({ value }) => value.name === head.name))
        throw new InvalidSkillError(`The agent has ${skillsMax} skills, and may have no more: remove one first`);
      const before = await tree.get(transaction);
      const gone = [...before.keys()].filter((path) => !written.has(path)).map((path) => [path, undefined] as const);
      tree.change(transaction, before, new Map<string, StoredFile | undefined>([...gone, ...written]));
      transaction.set([...prefixOf(owner), head.name], record);
    });
  } catch (error) {
    if (error instanceof InvalidSkillError) await tree.discard(store, environment, written.values());
    throw error;
  }
  return record;
}

/** In the order of their names. */
export async function readSkills(store: Store, { project, agentId }: SkillOwner): Promise<SkillRecord[]> {
  const [answer] = await store.read([{ ...tupleRange(prefixOf({ project, agentId })), limit: skillsMax }]);
  return answer!.map(({ value }) => decodeJson<SkillRecord>(value));
}

/** @throws {SkillNotFoundError} */
export async function removeSkill(
  { store, environment }: { readonly store: Store; readonly environment: Environment },
  owner: SkillOwner,
  name: string,
): Promise<void> {
  await transact(store, environment, async (transaction) => {
    const key = [...prefixOf(owner), name];
    if ((await transaction.get(key)) === undefined)
      throw new SkillNotFoundError(`The agent has no skill ${JSON.stringify(name.slice(0, 80))}`);
    transaction.delete(key);
    transaction.deleteAll([owner.project, "skill.files", owner.agentId, name]);
  });
}

/** With the agent. */
export function deleteSkills(transaction: Transaction, project: string, agentId: string): void {
  transaction.deleteAll(prefixOf({ project, agentId }));
  transaction.deleteAll([project, "skill.files", agentId]);
}

/** One file of a skill, and the paths of all. @throws {SkillNotFoundError} */
export async function readSkillFile(
  store: Store,
  owner: SkillOwner,
  name: string,
  path: string,
): Promise<{ readonly bytes: Uint8Array; readonly paths: readonly string[] }> {
  const tree = treeOf(owner, name);
  const listing = await tree.read(store);
  if (listing.size === 0) throw new SkillNotFoundError(`There is no skill ${JSON.stringify(name.slice(0, 80))}`);
  const paths = [...listing.keys()];
  const file = listing.get(path);
  if (file === undefined)
    throw new SkillNotFoundError(
      `The skill ${name} has no file ${JSON.stringify(path.slice(0, 100))}. It has ${paths.join(", ").slice(0, 2_000)}`,
    );
  return { bytes: await tree.readContent(store, file), paths };
}

/** All files of all skills, under the folders by which commands know them. */
export async function readSkillFiles(store: Store, owner: SkillOwner, folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const { name } of await readSkills(store, owner)) {
    const tree = treeOf(owner, name);
    for (const [path, file] of await tree.read(store)) files.set(`${folder}/${name}/${path}`, await tree.readContent(store, file));
  }
  return files;
}

/** Whose skills. */
export interface SkillOwner {
  readonly project: string;
  readonly agentId: string;
}

function checkSkill(given: readonly (readonly [path: string, bytes: Uint8Array])[]): {
  readonly files: Map<string, Uint8Array>;
  readonly head: SkillHead;
} {
  const files = new Map<string, Uint8Array>();
  try {
    for (const [path, bytes] of given) {
      const checked = checkPath(path);
      if (files.has(checked)) throw new InvalidSkillError(`The file ${checked} is there twice`);
      files.set(checked, bytes);
    }
    checkListing(new Map([...files].map(([path, { length }]) => [path, { bytes: length }])), skillLimits);
  } catch (error) {
    if (error instanceof FileTreeError) throw new InvalidSkillError(error.message, { cause: error });
    throw error;
  }
  const head = files.get(skillFile);
  if (head === undefined)
    throw new InvalidSkillError(`A skill has a file ${skillFile} in its folder, in capital letters; this one has none`);
  return { files, head: readSkillHead(head) };
}

function treeOf({ project, agentId }: SkillOwner, name: string): FileTree {
  return new FileTree([project, "skill.files", agentId, name], skillLimits);
}

function prefixOf({ project, agentId }: SkillOwner): Tuple {
  return [project, "skill", agentId];
}
