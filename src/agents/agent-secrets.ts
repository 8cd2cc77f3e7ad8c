/** The secrets of an agent: variables for its tools, sealed in its row, and never in a context window, a log or an event. */
import { openSecret, sealSecret, type StoredSecret } from "../storage/stored-secret.ts";
import type { AgentRecord } from "./agent.ts";
import type { AgentEnvironment } from "./conversation-environment.ts";

export type Secrets = { readonly [name: string]: string };

type Keys = Pick<AgentEnvironment, "sealingKey" | "environment">;

/** @throws {SealError} There is no key, and there are secrets. */
export function sealSecrets({ sealingKey }: Keys, project: string, agentId: string, secrets: Secrets): AgentRecord["secrets"] {
  return Object.fromEntries(
    Object.entries(secrets).map(([name, text]): [string, StoredSecret] => [
      name,
      sealSecret(sealingKey, text, nameOf(project, agentId, name)),
    ]),
  );
}

/** @throws {SealError} */
export function openSecrets(
  { sealingKey, environment }: Keys,
  project: string,
  { id, secrets }: Pick<AgentRecord, "id" | "secrets">,
): Secrets {
  const opened = Object.fromEntries(
    Object.entries(secrets).map(([name, stored]): [string, string] => [name, openSecret(sealingKey, stored, nameOf(project, id, name))]),
  );
  environment.log.hide(Object.values(opened));
  return opened;
}

function nameOf(project: string, agentId: string, name: string): string {
  return `${project}/agent/${agentId}/secret/${name}`;
}
