/** The commands that talk to a running Kelpie: which one, and with which key. */
import { ApiClient, ApiError } from "./api-client.ts";
import { CommandError, UsageError, type CommandInput } from "./command.ts";
import type { Program } from "./program.ts";

export const serverUrlDefault = "http://127.0.0.1:8283";

/** @throws {UsageError} */
export function clientFor(input: CommandInput, program: Program): ApiClient {
  const variables = program.variables;
  const given = input.values.get("server") ?? nonEmpty(variables.KELPIE_SERVER) ?? nonEmpty(variables.LETTA_BASE_URL) ?? serverUrlDefault;
  if (!/^https?:\/\//.test(given) || !URL.canParse(given))
    throw new UsageError(`The address of the server is not a URL: ${JSON.stringify(given)}. Write it like ${serverUrlDefault}`);
  const key = nonEmpty(variables.KELPIE_API_KEY) ?? nonEmpty(variables.LETTA_API_KEY) ?? nonEmpty(variables.LETTA_SERVER_PASSWORD);
  return new ApiClient(given, key);
}

export interface AgentSummary {
  readonly id: string;
  readonly name: string;
  readonly model?: string | null;
  readonly created_at?: string;
  readonly tags?: readonly string[];
  readonly description?: string | null;
}

/** The agent with this id or this exact name. */
export async function findAgent(client: ApiClient, nameOrId: string): Promise<AgentSummary> {
  if (/^agent-[0-9a-f-]{36}$/.test(nameOrId)) {
    try {
      return await client.request<AgentSummary>("GET", `/v1/agents/${nameOrId}`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404)
        throw new CommandError(`There is no agent ${nameOrId} at ${client.url}`, { cause: error });
      throw error;
    }
  }
  const agents = await client.request<AgentSummary[]>("GET", "/v1/agents", { query: { name: nameOrId, limit: 2 } });
  if (agents.length === 0)
    throw new CommandError(
      `There is no agent called ${JSON.stringify(nameOrId)} at ${client.url}. kelpie agents list shows those there are`,
    );
  if (agents.length > 1)
    throw new CommandError(`Several agents are called ${JSON.stringify(nameOrId)}: name one by its id (kelpie agents list shows them)`);
  return agents[0]!;
}

/** The one positional that a command takes after its verb. */
export function onePositional(input: CommandInput, what: string): string {
  const [, value, ...rest] = input.positionals;
  if (value === undefined) throw new UsageError(`${input.positionals[0] ?? ""} needs ${what}`.trim());
  if (rest.length > 0) throw new UsageError(`${input.positionals[0]} takes one ${what}, and got ${rest.length + 1}`);
  return value;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
