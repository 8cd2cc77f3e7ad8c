/**
 * Every setting of Kelpie, in one table: its flag, its variables, its type, its default and what it means.
 *
 * A flag comes before a variable, and Kelpie's own variable before another program's name for the same thing. An empty
 * variable counts as not set, as compose files pass those. Everything is checked before anything starts: an unknown
 * `KELPIE_` variable and a malformed value are errors that name themselves.
 *
 * `docs/reference/configuration.md` is written from this table by `scripts/configuration-page.ts`.
 */
import { suggestion } from "./base/nearest.ts";
import type { LogLevel } from "./environment/environment.ts";
import {
  integer,
  oneOf,
  optional,
  type Parser,
  parsePublicUrl,
  parseServerAddress,
  parseStoreUrl,
  pattern,
  yesOrNo,
} from "./setting-parsers.ts";

export interface Config {
  readonly port: number;
  readonly host: string;
  readonly apiKey: string | undefined;
  readonly dataDirectory: string;
  readonly storeAddress: string | undefined;
  readonly sealingKey: string | undefined;
  readonly newSealingKey: boolean;
  readonly publicUrl: string | undefined;
  readonly unisolatedTools: boolean;
  readonly nodeName: string | undefined;
  readonly join: string | undefined;
  readonly clusterSecret: string | undefined;
  readonly clusterCertificate: string | undefined;
  readonly clusterKey: string | undefined;
  readonly clusterAuthority: string | undefined;
  readonly clusterHost: string;
  readonly clusterPort: number;
  readonly capacity: number;
  readonly supervisor: boolean;
  readonly defaultModel: string | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
  readonly stopSeconds: number;
  readonly leaveSeconds: number;
  readonly contextWindowMax: number;
  readonly modelTimeoutSeconds: number;
  readonly discoverLocal: boolean;
  readonly demoTokenMilliseconds: number;
}

export interface Setting<T> extends Parser<T> {
  /** Without dashes. Secrets have none: other users of a machine see the arguments of its processes. */
  readonly flag?: string;
  /** Kelpie's own name first. */
  readonly variables: readonly [string, ...string[]];
  readonly default: T;
  readonly meaning: string;
  readonly isSecret?: boolean;
}

export const settings: { readonly [Name in keyof Config]: Setting<Config[Name]> } = {
  port: {
    flag: "port",
    variables: ["KELPIE_PORT", "PORT"],
    ...integer(0, 65_535),
    default: 8283,
    meaning: "The port to listen on; 0 takes any free one",
  },
  host: {
    flag: "host",
    variables: ["KELPIE_HOST"],
    ...pattern("host name or address", /^[a-z0-9.:_-]+$/i, "a host name or an IP address"),
    default: "127.0.0.1",
    meaning: "The address to listen on. Beyond the loopback address a key is required",
  },
  apiKey: {
    variables: ["KELPIE_API_KEY", "LETTA_SERVER_PASSWORD"],
    ...optional(pattern("secret", /^[\x21-\x7e]{8,}$/, "at least 8 visible ASCII characters, without spaces")),
    default: undefined,
    isSecret: true,
    meaning: "The key that every request must carry, as `Authorization: Bearer <key>`; without one only this machine is served",
  },
  dataDirectory: {
    flag: "data",
    variables: ["KELPIE_DATA"],
    ...pattern("folder", /\S/, "the path of a folder"),
    default: ".kelpie",
    meaning: "Where the store file `kelpie.db` is; made if it is missing",
  },
  storeAddress: {
    flag: "store",
    variables: ["KELPIE_STORE"],
    ...optional({ type: "store URL", parse: parseStoreUrl }),
    default: undefined,
    isSecret: true,
    meaning:
      "A database in place of the store file: PostgreSQL, `postgres://user:password@host:port/database` (one with a password belongs in the variable), or FoundationDB by its cluster file, `foundationdb:///etc/foundationdb/fdb.cluster`",
  },
  sealingKey: {
    variables: ["KELPIE_SEALING_KEY"],
    ...optional(pattern("secret", /^[\x21-\x7e]{16,}$/, "at least 16 visible ASCII characters, without spaces")),
    default: undefined,
    isSecret: true,
    meaning:
      "What secrets are sealed with in the store (of agents, MCP servers and providers), the same for all nodes. Without it the file `sealing-key` beside the store file holds one; over a database no secrets are taken without it",
  },
  newSealingKey: {
    variables: ["KELPIE_NEW_SEALING_KEY"],
    ...yesOrNo(),
    default: false,
    meaning: "For one start after the sealing key was lost: `yes` takes another one, and what was sealed has to be given again",
  },
  publicUrl: {
    flag: "public-url",
    variables: ["KELPIE_PUBLIC_URL"],
    ...optional({ type: "URL", parse: parsePublicUrl }),
    default: undefined,
    meaning: "The address at which browsers reach this server, such as `https://kelpie.example.com`; if left out, where it listens",
  },
  unisolatedTools: {
    variables: ["KELPIE_UNISOLATED_TOOLS"],
    ...yesOrNo(),
    default: false,
    meaning:
      "`yes` runs the code of tools as plain processes, with all rights of this server, on a host that cannot isolate it: only for code that you trust as much as Kelpie itself",
  },
  nodeName: {
    flag: "node",
    variables: ["KELPIE_NODE"],
    ...optional(pattern("name", /^[a-zA-Z0-9._-]{1,63}$/, "1 to 63 characters of a-z A-Z 0-9 . _ -")),
    default: undefined,
    meaning: "What this node is called: with a name it shares its agents with other nodes, and they can join it",
  },
  join: {
    flag: "join",
    variables: ["KELPIE_JOIN"],
    ...optional({ type: "address", parse: parseServerAddress }),
    default: undefined,
    meaning: "Where a node of the cluster serves its API, such as `localhost:8283`: this one joins it, over the same store",
  },
  clusterSecret: {
    variables: ["KELPIE_CLUSTER_SECRET"],
    ...optional(pattern("secret", /^[\x21-\x7e]{16,}$/, "at least 16 visible ASCII characters, without spaces")),
    default: undefined,
    isSecret: true,
    meaning:
      "What the nodes of a cluster know and nobody else does. Nodes of one host over one store file need none: they keep one beside it",
  },
  clusterCertificate: {
    flag: "cluster-certificate",
    variables: ["KELPIE_CLUSTER_CERTIFICATE"],
    ...optional(pattern("file", /\S/, "the path of a file")),
    default: undefined,
    meaning: "This node's certificate, a PEM file: with it nodes speak TLS, and prove themselves by certificates",
  },
  clusterKey: {
    flag: "cluster-key",
    variables: ["KELPIE_CLUSTER_KEY"],
    ...optional(pattern("file", /\S/, "the path of a file")),
    default: undefined,
    meaning: "The private key of that certificate, a PEM file",
  },
  clusterAuthority: {
    flag: "cluster-authority",
    variables: ["KELPIE_CLUSTER_AUTHORITY"],
    ...optional(pattern("file", /\S/, "the path of a file")),
    default: undefined,
    meaning: "The certificate of the cluster's own authority, a PEM file: whoever it has signed is a node of the cluster",
  },
  clusterHost: {
    flag: "cluster-host",
    variables: ["KELPIE_CLUSTER_HOST"],
    ...pattern(
      "host name or address",
      /^(?!0\.0\.0\.0$|::$)[a-z0-9.:_-]+$/i,
      "the host name or IP address by which other nodes reach this one",
    ),
    default: "127.0.0.1",
    meaning: "The address of this host at which other nodes reach this one",
  },
  clusterPort: {
    flag: "cluster-port",
    variables: ["KELPIE_CLUSTER_PORT"],
    ...integer(0, 65_535),
    default: 0,
    meaning: "The port at which other nodes reach this one; 0 takes any free one",
  },
  capacity: {
    flag: "capacity",
    variables: ["KELPIE_CAPACITY"],
    ...integer(1, 1_000_000),
    default: 1,
    meaning: "This node's share of the agents, relative to that of the others",
  },
  supervisor: {
    flag: "supervisor",
    variables: ["KELPIE_SUPERVISOR"],
    ...yesOrNo(),
    default: true,
    meaning:
      "Run a node of a cluster under a process that tells the others at once when it crashes, and starts it again. `no` where something else does, and the others may take six seconds to notice",
  },
  defaultModel: {
    flag: "model",
    variables: ["KELPIE_MODEL", "LETTA_DEFAULT_LLM_HANDLE"],
    ...optional(pattern("handle", /^[^/\s]+\/\S+$/, "a handle such as openai/gpt-5-mini")),
    default: undefined,
    meaning: "The model of agents that name none; if left out, a good one of the first provider that is configured, or the demo model",
  },
  logLevel: {
    flag: "log-level",
    variables: ["KELPIE_LOG_LEVEL"],
    ...oneOf<LogLevel>("debug", "info", "warn", "error"),
    default: "warn",
    meaning: "The least important log entries to write, on standard error",
  },
  logFormat: {
    flag: "log-format",
    variables: ["KELPIE_LOG_FORMAT"],
    ...oneOf("text", "json"),
    default: "text",
    meaning: "How a log entry is written",
  },
  stopSeconds: {
    flag: "stop-seconds",
    variables: ["KELPIE_STOP_SECONDS"],
    ...integer(0, 3_600),
    default: 20,
    meaning: "How long a stop waits for the requests in progress",
  },
  leaveSeconds: {
    flag: "leave-seconds",
    variables: ["KELPIE_LEAVE_SECONDS"],
    ...integer(0, 300),
    default: 5,
    meaning:
      "How long a node that stops takes requests after `/v1/ready` has turned to 503, if other nodes are up: the time in which a load balancer must notice",
  },
  contextWindowMax: {
    flag: "context-window-max",
    variables: ["KELPIE_CONTEXT_WINDOW_MAX", "GLOBAL_MAX_CONTEXT_WINDOW_LIMIT"],
    ...integer(4_096, 10_000_000),
    default: 128_000,
    meaning: "The most tokens that a model sees at once, unless the agent has a limit of its own",
  },
  modelTimeoutSeconds: {
    flag: "model-timeout-seconds",
    variables: ["KELPIE_MODEL_TIMEOUT_SECONDS", "LETTA_LLM_REQUEST_TIMEOUT_SECONDS"],
    ...integer(1, 3_600),
    default: 240,
    meaning: "How long a model may stay silent, before its first word and between two, until the call counts as failed",
  },
  discoverLocal: {
    flag: "discover-local",
    variables: ["KELPIE_DISCOVER_LOCAL"],
    ...yesOrNo(),
    default: true,
    meaning: "Look for Ollama and LM Studio on this machine",
  },
  demoTokenMilliseconds: {
    flag: "demo-token-milliseconds",
    variables: ["KELPIE_DEMO_TOKEN_MILLISECONDS"],
    ...integer(0, 10_000),
    default: 20,
    meaning: "The pause between two tokens of the demo model",
  },
};

interface NamedVariable {
  readonly name: string;
  readonly meaning: string;
  readonly type: "secret" | "URL";
}

/** What configures providers of models, under the names that the providers and Letta gave them. */
export const providerVariables: readonly NamedVariable[] = [
  { name: "OPENAI_API_KEY", type: "secret", meaning: "OpenAI" },
  {
    name: "OPENAI_API_BASE",
    type: "URL",
    meaning: "Another server that speaks OpenAI's API, in OpenAI's place; it needs `OPENAI_API_KEY` too",
  },
  { name: "ANTHROPIC_API_KEY", type: "secret", meaning: "Anthropic" },
  {
    name: "ANTHROPIC_API_BASE",
    type: "URL",
    meaning: "Another server that speaks Anthropic's API, in Anthropic's place; it needs `ANTHROPIC_API_KEY` too",
  },
  { name: "OPENROUTER_API_KEY", type: "secret", meaning: "OpenRouter" },
  { name: "GROQ_API_KEY", type: "secret", meaning: "Groq" },
  { name: "TOGETHER_API_KEY", type: "secret", meaning: "Together" },
  { name: "DEEPSEEK_API_KEY", type: "secret", meaning: "DeepSeek" },
  { name: "XAI_API_KEY", type: "secret", meaning: "xAI" },
  { name: "MISTRAL_API_KEY", type: "secret", meaning: "Mistral" },
  { name: "VLLM_API_BASE", type: "URL", meaning: "vLLM, or another server that speaks OpenAI's Chat Completions" },
  { name: "VLLM_API_KEY", type: "secret", meaning: "Its key, if it asks for one" },
  { name: "SGLANG_API_BASE", type: "URL", meaning: "SGLang" },
  { name: "SGLANG_API_KEY", type: "secret", meaning: "Its key, if it asks for one" },
  { name: "LLAMACPP_BASE_URL", type: "URL", meaning: "llama.cpp's server" },
  { name: "LLAMACPP_API_KEY", type: "secret", meaning: "Its key, if it asks for one" },
  { name: "LMSTUDIO_BASE_URL", type: "URL", meaning: "LM Studio; one on this machine is found without it" },
  { name: "OLLAMA_BASE_URL", type: "URL", meaning: "Ollama; one on this machine is found without it" },
];

/** Addresses that count only together with a key. */
const keyOfAddress: Readonly<Record<string, string>> = {
  OPENAI_API_BASE: "OPENAI_API_KEY",
  ANTHROPIC_API_BASE: "ANTHROPIC_API_KEY",
};

/** Read by the commands that talk to a server. */
export const clientVariables: readonly { readonly name: string; readonly meaning: string }[] = [
  { name: "KELPIE_SERVER", meaning: "The address of the Kelpie that `chat`, `agents` and `runs` talk to; `http://127.0.0.1:8283`" },
  { name: "LETTA_BASE_URL", meaning: "The same, if KELPIE_SERVER is not set" },
  { name: "LETTA_API_KEY", meaning: "The key that those commands send, if KELPIE_API_KEY is not set" },
  { name: "NO_COLOR", meaning: "Anything but empty: no colours" },
];

const noDatabase = "Kelpie keeps everything in its own store file, or in the database that KELPIE_STORE names";
const ownSandboxes = "code of tools runs in sandboxes of this host, within bounds of their own (docs/guides/tools.md)";

/** Variables of Letta V1 that mean nothing here, and why. */
export const ignoredVariables: Readonly<Record<string, string>> = {
  LETTA_PG_URI: noDatabase,
  LETTA_PG_DB: noDatabase,
  LETTA_PG_USER: noDatabase,
  LETTA_PG_PASSWORD: noDatabase,
  LETTA_PG_HOST: noDatabase,
  LETTA_PG_PORT: noDatabase,
  LETTA_PG_POOL_SIZE: noDatabase,
  LETTA_DISABLE_SQLALCHEMY_POOLING: noDatabase,
  LETTA_REDIS_HOST: noDatabase,
  LETTA_REDIS_PORT: noDatabase,
  LETTA_ENCRYPTION_KEY: "secrets are sealed under KELPIE_SEALING_KEY; keep the store on an encrypted disk for what agents remember",
  LETTA_DEFAULT_EMBEDDING_HANDLE: "Kelpie searches by words; there are no embeddings yet",
  LETTA_MEMFS_SERVICE_URL: "Kelpie has no memory file system yet",
  LETTA_KEEPALIVE_INTERVAL: "an event stream shows life every 20 seconds",
  GEMINI_API_KEY: "Kelpie has no adapter for Gemini; OpenRouter has its models",
  ZAI_API_KEY: "Kelpie has no adapter for Z.ai; OpenRouter has its models",
  TOOL_EXEC_DIR: ownSandboxes,
  TOOL_SANDBOX_TIMEOUT: ownSandboxes,
  E2B_API_KEY: ownSandboxes,
  MCP_DISABLE_STDIO: "programs of MCP servers are added by whoever holds the key of the API",
};

/** Settings that switch V1's password on. Here a key that is set is always required, so they can only ask for one that is missing. */
const secureVariables = ["SECURE", "LETTA_SERVER_SECURE"];

/** A setting is unknown or malformed. The message names it. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export interface LoadedConfig {
  readonly config: Config;
  /** Values of `providerVariables` that are set. */
  readonly providers: Readonly<Record<string, string>>;
  /** Variables that were given and mean nothing here, one sentence each. */
  readonly warnings: readonly string[];
}

/** @throws {ConfigError} */
export function loadConfig(flags: ReadonlyMap<string, string>, variables: Readonly<Record<string, string | undefined>>): LoadedConfig {
  refuseUnknown(flags, variables);
  const config = Object.fromEntries(
    Object.entries(settings).map(([name, setting]) => [name, valueOf(setting as Setting<unknown>, flags, variables)]),
  ) as unknown as Config;
  const secure = secureVariables.find((name) => /^(true|1|yes)$/i.test(variables[name] ?? ""));
  if (secure !== undefined && config.apiKey === undefined)
    throw new ConfigError(`${secure} asks for a key, and none is set: set KELPIE_API_KEY`);
  refuseHalfOfTls(config);
  return {
    config,
    providers: providersIn(variables),
    warnings: [...warningsFor(variables), ...warningsOfAlone(config), ...warningsOfTools(config)],
  };
}

function refuseUnknown(flags: ReadonlyMap<string, string>, variables: Readonly<Record<string, string | undefined>>): void {
  const flagNames = Object.values(settings).flatMap((setting) => (setting.flag === undefined ? [] : [setting.flag]));
  for (const flag of flags.keys())
    if (!flagNames.includes(flag)) throw new ConfigError(`There is no setting --${flag}.${suggestion(flag, flagNames)}`);
  const known = [...Object.values(settings).flatMap((setting) => setting.variables), ...clientVariables.map(({ name }) => name)];
  for (const name of Object.keys(variables))
    if (name.startsWith("KELPIE_") && !known.includes(name))
      throw new ConfigError(
        `There is no setting ${name}.${suggestion(
          name,
          known.filter((candidate) => candidate.startsWith("KELPIE_")),
        )}`,
      );
}

function valueOf<T>(setting: Setting<T>, flags: ReadonlyMap<string, string>, variables: Readonly<Record<string, string | undefined>>): T {
  const flag = setting.flag === undefined ? undefined : flags.get(setting.flag);
  const variable = setting.variables.find((name) => (variables[name] ?? "") !== "");
  const text = flag ?? (variable === undefined ? undefined : variables[variable]);
  if (text === undefined) return setting.default;
  const parsed = setting.parse(text);
  if ("value" in parsed) return parsed.value;
  const name = flag === undefined ? variable : `--${setting.flag}`;
  // A secret that is malformed is still a secret.
  const shown = setting.isSecret === true ? "" : `, not ${JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)}`;
  throw new ConfigError(`${name} must be ${parsed.expected}${shown}`);
}

function providersIn(variables: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, type } of providerVariables) {
    const text = variables[name] ?? "";
    if (text === "") continue;
    if (type === "URL" && !/^https?:\/\/[^\s/]/.test(text))
      throw new ConfigError(`${name} must be a URL that starts with http:// or https://, not ${JSON.stringify(text.slice(0, 60))}`);
    if (type === "secret" && /[^\x21-\x7e]/.test(text))
      throw new ConfigError(`${name} must be visible ASCII characters: there is a space, a line break or a foreign letter in it`);
    found[name] = text;
  }
  return found;
}

function warningsFor(variables: Readonly<Record<string, string | undefined>>): string[] {
  const isSet = (name: string): boolean => (variables[name] ?? "") !== "";
  const ignored = Object.entries(ignoredVariables).filter(([name]) => isSet(name));
  const keyless = Object.entries(keyOfAddress).filter(([name, key]) => isSet(name) && !isSet(key));
  return [
    ...ignored.map(([name, why]) => `${name} is ignored: ${why}`),
    ...keyless.map(([name, key]) => `${name} is ignored without ${key}: set it too, to any text if the server asks for none`),
  ];
}

/** A certificate, its key and its authority are of use together. @throws {ConfigError} */
function refuseHalfOfTls(config: Config): void {
  const names = ["clusterCertificate", "clusterKey", "clusterAuthority"] as const;
  const missing = names.filter((name) => config[name] === undefined).map((name) => settings[name].variables[0]);
  if (missing.length > 0 && missing.length < names.length)
    throw new ConfigError(
      `For TLS between nodes ${missing.join(" and ")} must be set too: a certificate, its key and the cluster's authority`,
    );
}

function warningsOfTools({ unisolatedTools }: Config): string[] {
  if (!unisolatedTools) return [];
  return ["KELPIE_UNISOLATED_TOOLS: where this host cannot isolate the code of tools, it has all rights of the server"];
}

/** Settings of clusters mean nothing to a server that is alone. */
function warningsOfAlone(config: Config): string[] {
  if (config.nodeName !== undefined || config.join !== undefined) return [];
  return (["clusterSecret", "clusterCertificate", "clusterPort", "capacity", "leaveSeconds"] as const)
    .filter((name) => config[name] !== settings[name].default)
    .map((name) => `${settings[name].variables[0]} is ignored: this server is alone, as neither KELPIE_NODE nor --join is given`);
}
