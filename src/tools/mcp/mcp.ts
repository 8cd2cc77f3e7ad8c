/**
 * Model Context Protocol: tools of other processes and machines.
 *
 * P1. A server and its credentials have one connection in a process, whatever number of agents use it. It is made at the
 *     first call, kept while used, and made anew when it broke; nobody's call is sent a second time for that.
 * P2. What a server says of a tool is data: bounded, and pinned by a hash when its owner took it. A tool that is another
 *     one since then is not called.
 * P3. A call carries the id of its effect, so that a server can know a repeat.
 * P4. Tokens are sealed in the store, and go to the address alone that they were given for.
 * P5. What a server was given as a secret, it cannot give to a model: its results, its errors and what it says of its tools
 *     are masked.
 */

/** How a server is reached: Letta's shapes. `Secret`: how what nobody may see is held, in clear or as a row keeps it. */
export type McpServerConfig<Secret = string> =
  | {
      readonly mcp_server_type: "stdio";
      /** A program, found on the PATH; never a line for a shell. */
      readonly command: string;
      readonly args: readonly string[];
      /** Beside HOME, LOGNAME, PATH, SHELL, TERM and USER, which it has of this process. */
      readonly env?: Readonly<Record<string, Secret>> | null | undefined;
    }
  | {
      readonly mcp_server_type: "sse" | "streamable_http";
      /** May hold a secret too: in its path, its query, as a password. */
      readonly server_url: Secret;
      readonly auth_header?: string | null | undefined;
      readonly auth_token?: Secret | null | undefined;
      readonly custom_headers?: Readonly<Record<string, Secret>> | null | undefined;
      /** Who Kelpie is at its authorization server, where it was registered there by hand. */
      readonly oauth_client?: { readonly client_id: string; readonly client_secret?: Secret | null | undefined } | null | undefined;
    };

/** What a server may ask of Kelpie while it works on a call. Kelpie's own; what is absent is refused. */
export interface McpGrants {
  /** The model that answers its samples, by its handle. */
  readonly sampling_model?: string | null | undefined;
  /** Whether its questions are put to a person (questions.ts). */
  readonly elicitation?: boolean | null | undefined;
  /** Where it may work: told, not enforced. */
  readonly roots?: readonly McpRoot[] | null | undefined;
}

/** Whose authorization calls are made with, where a server asks for OAuth: the project's, or of each agent its own. */
export type McpAuthorizationOf = "project" | "agent";

export interface McpRoot {
  /** An address that begins with `file://`. */
  readonly uri: string;
  readonly name?: string | null | undefined;
}

/** A tool as its server describes it, within the limits below. */
export interface McpToolInfo {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: { readonly [key: string]: unknown };
  readonly annotations: { readonly readOnlyHint?: boolean; readonly idempotentHint?: boolean };
}

/** Where effect ids travel: in `_meta` of a call. */
export const effectIdMeta = "kelpie/effect-id";

/** Where a browser comes back to, and where authorization servers read who Kelpie is, below its own address. */
export const callbackPath = "/v1/tools/mcp/oauth/callback";
export const clientPath = "/client-metadata.json";

export const mcpLimits: {
  readonly [
    limit in
      | "connectMilliseconds"
      | "callMilliseconds"
      | "callMillisecondsMax"
      | "idleMilliseconds"
      | "messageBytes"
      | "toolsPerServer"
      | "nameCharacters"
      | "descriptionCharacters"
      | "schemaBytes"
      | "stderrCharacters"
      | "graceMilliseconds"
      | "retryMillisecondsFirst"
      | "retryMillisecondsMost"
      | "patienceMilliseconds"
      | "authorizationMilliseconds"
      | "connectionsKept"
      | "samplesPerCall"
      | "samplesAtOnce"
      | "sampleBytes"
      | "imagesPerResult"
      | "imageCharactersPerResult"
      | "sampleTokens"
      | "sampleMilliseconds"
      | "rootsPerServer"
      | "questionsAtOnce"
      | "questionMilliseconds"
      | "questionPollMilliseconds"
      | "answerBytes"
  ]: number;
} = {
  /** Connecting, and listing tools. */
  connectMilliseconds: 30_000,
  /** Without a word of progress. */
  callMilliseconds: 180_000,
  callMillisecondsMax: 3_600_000,
  /** A connection that nobody uses ends. */
  idleMilliseconds: 600_000,
  /** One message of a server. */
  messageBytes: 16 * 1024 * 1024,
  toolsPerServer: 1_000,
  nameCharacters: 1_000,
  descriptionCharacters: 8_000,
  schemaBytes: 32_000,
  /** The last of what a server writes to its standard error. */
  stderrCharacters: 8_000,
  /** Between its standard input's end and SIGTERM, and again before SIGKILL. */
  graceMilliseconds: 500,
  /** The wait after the second failure in a row; it doubles up to the other. */
  retryMillisecondsFirst: 500,
  retryMillisecondsMost: 30_000,
  /** A call that would have to wait longer than this for the next try is refused. */
  patienceMilliseconds: 1_000,
  /** In which a person has to agree, before the address where that is done is no more. */
  authorizationMilliseconds: 600_000,
  /** More than these are kept only while they are used. */
  connectionsKept: 1_000,
  /** Samples that a server gets for each call that it works on. */
  samplesPerCall: 10,
  samplesAtOnce: 4,
  /** Shown to a model, in base64 all together. */
  imagesPerResult: 4,
  imageCharactersPerResult: 1_000_000,
  /** What it gives the model to read. */
  sampleBytes: 1_000_000,
  /** Of the model's answer. */
  sampleTokens: 8_192,
  sampleMilliseconds: 180_000,
  rootsPerServer: 100,
  /** Of one server, waiting for a person. */
  questionsAtOnce: 8,
  /** In which somebody has to answer. */
  questionMilliseconds: 600_000,
  /** Between two looks whether somebody has, on whichever node. */
  questionPollMilliseconds: 500,
  answerBytes: 32_000,
};

/** A server cannot be reached, or does not speak the protocol. The message has the end of its standard error. */
export class McpConnectionError extends Error {
  override readonly name = "McpConnectionError";
}

/** A server wants to know that a person agrees, who says so at `url` in a browser. The message has no address: agents see it. */
export class McpAuthorizationError extends McpConnectionError {
  readonly serverName: string;
  readonly url: string;

  /** `agentId`: whose authorization it is; undefined: the project's. */
  constructor(
    { id, server_name }: { readonly id: string; readonly server_name: string },
    { url, agentId }: { readonly url: string; readonly agentId: string | undefined },
  ) {
    const [whose, query] = agentId === undefined ? ["its owner's", ""] : ["this agent's own", `?agent_id=${agentId}`];
    super(
      `The MCP server ${server_name} asks for ${whose} authorization: PATCH /v1/mcp-servers/${id}/refresh${query} says where to give it`,
    );
    this.serverName = server_name;
    this.url = url;
  }
}

/** A callback that nobody waits for: it is too late, was used before, or was made up. */
export class UnknownAuthorizationError extends Error {
  override readonly name = "UnknownAuthorizationError";
}

/** A configuration that cannot be used. Says why, and what would be right. */
export class InvalidMcpServerError extends Error {
  override readonly name = "InvalidMcpServerError";
}

/** The project has a server with this name. */
export class McpServerNameTakenError extends Error {
  override readonly name = "McpServerNameTakenError";
}

/** The project has no server with this id or name. */
export class McpServerNotFoundError extends Error {
  override readonly name = "McpServerNotFoundError";
}

/** No question waits under this id: it was answered, its call is over, or nobody answered in time. */
export class McpQuestionNotFoundError extends Error {
  override readonly name = "McpQuestionNotFoundError";
}

/** An answer that the question does not ask for. Says which field, and what is wanted. */
export class InvalidMcpAnswerError extends Error {
  override readonly name = "InvalidMcpAnswerError";
}
