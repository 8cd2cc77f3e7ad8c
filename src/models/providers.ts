/** Providers from this server's configuration, and providers made through the API. */
import { commonQuirks, type OpenAIChatQuirks, type Provider } from "./provider.ts";

/** A provider cannot be used as it was given. The message says which variable or field is wrong, never the key. */
export class ProviderConfigurationError extends Error {
  override readonly name = "ProviderConfigurationError";
}

/** Values of variables such as `OPENAI_API_KEY`. The composition passes them; nothing here looks at the process. */
export type ProviderVariables = { readonly [variable: string]: string | undefined };

interface ProviderKind {
  readonly type: string;
  /** The first part of handles; the type by default. */
  readonly name?: string;
  readonly endpointType?: string;
  readonly protocol?: Provider["protocol"];
  readonly keyVariable?: string;
  readonly urlVariable?: string;
  /** A kind with an address of its own is configured by its key, one without by its address. */
  readonly baseUrl?: string;
  readonly discovery?: Provider["discovery"];
  readonly preferredModels?: readonly string[];
  readonly quirks?: Partial<OpenAIChatQuirks>;
}

/** In the order in which they offer a default model. Handles and variables are Letta's. */
const kinds: readonly ProviderKind[] = [
  {
    type: "openai",
    keyVariable: "OPENAI_API_KEY",
    urlVariable: "OPENAI_API_BASE",
    baseUrl: "https://api.openai.com/v1",
    preferredModels: ["gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini"],
    quirks: { outputLimitField: "max_completion_tokens", takesPromptCacheKey: true, takesStrict: true },
  },
  {
    type: "anthropic",
    protocol: "anthropicMessages",
    keyVariable: "ANTHROPIC_API_KEY",
    urlVariable: "ANTHROPIC_API_BASE",
    baseUrl: "https://api.anthropic.com/v1",
    discovery: "anthropic",
    preferredModels: ["claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-4-5"],
  },
  {
    type: "openrouter",
    keyVariable: "OPENROUTER_API_KEY",
    baseUrl: "https://openrouter.ai/api/v1",
    preferredModels: ["anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"],
    quirks: { reasoningField: "reasoning" },
  },
  {
    type: "groq",
    keyVariable: "GROQ_API_KEY",
    baseUrl: "https://api.groq.com/openai/v1",
    preferredModels: ["openai/gpt-oss-120b", "llama-3.3-70b-versatile"],
    quirks: { outputLimitField: "max_completion_tokens" },
  },
  {
    type: "together",
    keyVariable: "TOGETHER_API_KEY",
    baseUrl: "https://api.together.xyz/v1",
    preferredModels: ["meta-llama/Llama-3.3-70B-Instruct-Turbo"],
  },
  {
    type: "deepseek",
    keyVariable: "DEEPSEEK_API_KEY",
    baseUrl: "https://api.deepseek.com/v1",
    preferredModels: ["deepseek-chat"],
    quirks: { reasoningField: undefined, takesParallelToolCalls: false, returnsReasoning: true },
  },
  { type: "xai", keyVariable: "XAI_API_KEY", baseUrl: "https://api.x.ai/v1", preferredModels: ["grok-4", "grok-3-mini"] },
  {
    type: "mistral",
    keyVariable: "MISTRAL_API_KEY",
    baseUrl: "https://api.mistral.ai/v1",
    preferredModels: ["mistral-medium-latest", "mistral-large-latest"],
    // Mistral rejects fields that it does not know, and sends its usage unasked.
    quirks: { takesStreamOptions: false, reasoningField: undefined, requiredToolChoice: "any", shortToolCallIds: true },
  },
  { type: "vllm", keyVariable: "VLLM_API_KEY", urlVariable: "VLLM_API_BASE" },
  { type: "sglang", keyVariable: "SGLANG_API_KEY", urlVariable: "SGLANG_API_BASE" },
  { type: "llamacpp", keyVariable: "LLAMACPP_API_KEY", urlVariable: "LLAMACPP_BASE_URL" },
  { type: "lmstudio_openai", endpointType: "lmstudio", urlVariable: "LMSTUDIO_BASE_URL", discovery: "lmstudio" },
  { type: "ollama", urlVariable: "OLLAMA_BASE_URL", discovery: "ollama" },
];

/** Every variable that `configuredProviders` reads. */
export const providerVariableNames: readonly string[] = kinds.flatMap((kind) =>
  [kind.keyVariable, kind.urlVariable].filter((name) => name !== undefined),
);

/** The providers that the variables configure. @throws {ProviderConfigurationError} */
export function configuredProviders(variables: ProviderVariables): readonly Provider[] {
  return kinds.flatMap((kind) => {
    const key = variable(variables, kind.keyVariable);
    const url = variable(variables, kind.urlVariable);
    const isConfigured = kind.baseUrl === undefined ? url !== undefined : key !== undefined;
    return isConfigured ? [makeProvider(kind, { name: kind.name ?? kind.type, key, url, category: "base" })] : [];
  });
}

/** Ollama and LM Studio where they listen unless told otherwise, except those that are configured. */
export function localProviders(configured: readonly Provider[]): readonly Provider[] {
  const addresses: { readonly [type: string]: string } = { ollama: "http://127.0.0.1:11434", lmstudio_openai: "http://127.0.0.1:1234" };
  return kinds.flatMap((kind) => {
    const url = addresses[kind.type];
    if (url === undefined || configured.some((provider) => provider.type === kind.type)) return [];
    return [makeProvider(kind, { name: kind.type, key: undefined, url, category: "local" })];
  });
}

/** The fields of Letta's `ProviderCreate` that matter here. */
export interface ProviderInput {
  readonly name: string;
  readonly provider_type: string;
  readonly api_key?: string | null;
  readonly base_url?: string | null;
}

/** A provider made through the API. @throws {ProviderConfigurationError} */
export function providerFromInput(input: ProviderInput): Provider {
  const kind = kinds.find(({ type }) => type === input.provider_type);
  if (kind === undefined)
    throw new ProviderConfigurationError(
      `Cannot use the provider type ${quote(input.provider_type)}, must be one of ${kinds.map(({ type }) => type).join(", ")}`,
    );
  if (!/^[\w.-]{1,64}$/.test(input.name))
    throw new ProviderConfigurationError(
      `Cannot name a provider ${quote(input.name)}: 1 to 64 letters, digits, dots, dashes and underscores`,
    );
  const key = input.api_key?.trim() || undefined;
  const url = input.base_url?.trim() || undefined;
  if (kind.baseUrl === undefined && url === undefined)
    throw new ProviderConfigurationError(`A provider of type ${kind.type} needs a base_url`);
  if (kind.baseUrl !== undefined && key === undefined)
    throw new ProviderConfigurationError(`A provider of type ${kind.type} needs an api_key`);
  return makeProvider({ ...kind, keyVariable: "api_key", urlVariable: "base_url" }, { name: input.name, key, url, category: "byok" });
}

/** What to set so that handles of `providerName` work, where a variable can. */
export function variableFor(providerName: string): string | undefined {
  const kind = kinds.find((candidate) => (candidate.name ?? candidate.type) === providerName);
  return kind?.baseUrl === undefined ? kind?.urlVariable : kind.keyVariable;
}

interface Given {
  readonly name: string;
  readonly key: string | undefined;
  readonly url: string | undefined;
  readonly category: Provider["category"];
}

function makeProvider(kind: ProviderKind, given: Given): Provider {
  // A header cannot carry other characters, and fetch would put the key into its complaint.
  if (given.key !== undefined && !/^[\x21-\x7e]+$/.test(given.key))
    throw new ProviderConfigurationError(`${kind.keyVariable ?? "The key"} must have only visible ASCII characters, without spaces`);
  return {
    name: given.name,
    type: kind.type,
    endpointType: kind.endpointType ?? kind.type,
    protocol: kind.protocol ?? "openaiChat",
    baseUrl: given.url === undefined ? kind.baseUrl! : versionedUrl(given.url, kind.urlVariable ?? "base_url"),
    apiKey: given.key,
    category: given.category,
    discovery: kind.discovery ?? "openai",
    keyVariable: kind.keyVariable,
    urlVariable: kind.urlVariable,
    preferredModels: kind.preferredModels ?? [],
    quirks: { ...commonQuirks, ...kind.quirks },
  };
}

/** With `/v1` where the address has no path, and without a slash at the end. */
function versionedUrl(text: string, variableName: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new ProviderConfigurationError(`${variableName} must be a URL such as http://127.0.0.1:11434, not ${quote(text)}`);
  if (url.username !== "" || url.password !== "") throw new ProviderConfigurationError(`${variableName} must not hold a user and password`);
  if (url.search !== "" || url.hash !== "")
    throw new ProviderConfigurationError(`${variableName} must not hold a query or fragment: what comes behind ? or #`);
  const path = url.pathname.replace(/\/+$/, "");
  return url.origin + (path === "" ? "/v1" : path);
}

function variable(variables: ProviderVariables, name: string | undefined): string | undefined {
  return name === undefined ? undefined : variables[name]?.trim() || undefined;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text);
}
