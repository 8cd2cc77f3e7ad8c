/** Asks a provider which models it has. */
import type { EmbeddingModelInfo } from "./embedding-model.ts";
import { providerHeaders, withoutKey } from "./http-model-call.ts";
import type { HttpPort } from "./http-port.ts";
import { isChatModel, knownLimits } from "./known-models.ts";
import { ModelError, type ModelInfo } from "./model.ts";
import type { Provider } from "./provider.ts";
import { readProviderError } from "./provider-error.ts";
import { asArray, asCount, asObject, asText, parseJson, type WireObject } from "./wire-json.ts";

export interface Discovered {
  readonly models: readonly ModelInfo[];
  readonly embeddings: readonly EmbeddingModelInfo[];
}

const listBytesMax = 16 * 1024 * 1024;
const modelsMax = 5_000;
/** Ollama tells of a context window only model by model. */
const ollamaDetailsMax = 64;

/** @throws {ModelError} The provider cannot be reached, or answers with an error or with something else than a list. */
export async function discoverModels(provider: Provider, port: HttpPort, signal: AbortSignal): Promise<Discovered> {
  switch (provider.discovery) {
    case "ollama":
      return discoverOllama(provider, port, signal);
    case "lmstudio":
      return discoverLmStudio(provider, port, signal);
    case "anthropic":
      return fromList(provider, await requestJson(provider, port, `${provider.baseUrl}/models?limit=1000`, signal));
    case "openai":
      return fromList(provider, await requestJson(provider, port, `${provider.baseUrl}/models`, signal));
  }
}

async function discoverOllama(provider: Provider, port: HttpPort, signal: AbortSignal): Promise<Discovered> {
  const root = provider.baseUrl.replace(/\/v1$/, "");
  const list = asObject(await requestJson(provider, port, `${root}/api/tags`, signal));
  const names = asArray(list?.["models"])
    .flatMap((model) => asText(asObject(model)?.["name"]) ?? [])
    .slice(0, modelsMax);
  const details = await Promise.all(
    names.map(async (name, index) => {
      if (index >= ollamaDetailsMax) return {};
      // A model is listed also when its details do not come in time.
      const answer = await requestJson(provider, port, `${root}/api/show`, signal, { model: name }).catch(() => undefined);
      return asObject(answer) ?? {};
    }),
  );
  const models: ModelInfo[] = [];
  const embeddings: EmbeddingModelInfo[] = [];
  for (const [index, name] of names.entries()) {
    const detail = details[index]!;
    const facts = asObject(detail["model_info"]) ?? {};
    const capabilities = asArray(detail["capabilities"]);
    const dimensions = countEndingWith(facts, ".embedding_length");
    if (capabilities.includes("embedding") || (capabilities.length === 0 && /embed/.test(name))) {
      if (dimensions !== undefined) embeddings.push(embeddingInfo(provider, name, dimensions));
      continue;
    }
    const configured = /^num_ctx\s+(\d+)/m.exec(asText(detail["parameters"]) ?? "")?.[1];
    models.push(
      modelInfo(provider, name, {
        contextWindow: configured === undefined ? countEndingWith(facts, ".context_length") : Number(configured),
      }),
    );
  }
  return { models, embeddings };
}

async function discoverLmStudio(provider: Provider, port: HttpPort, signal: AbortSignal): Promise<Discovered> {
  const root = provider.baseUrl.replace(/\/v1$/, "");
  // LM Studio's own list also tells types and context windows; older versions have only OpenAI's.
  const own = await requestJson(provider, port, `${root}/api/v0/models`, signal).catch(() => undefined);
  return fromList(provider, own ?? (await requestJson(provider, port, `${provider.baseUrl}/models`, signal)));
}

/** `{data: […]}` as OpenAI and Anthropic, or only the list as Together. */
function fromList(provider: Provider, answer: unknown): Discovered {
  const list = Array.isArray(answer) ? answer : asObject(answer)?.["data"];
  if (!Array.isArray(list))
    throw new ModelError("invalidResponse", `Cannot list the models of ${provider.name}: ${provider.baseUrl} sent no list`);
  const entries = list.slice(0, modelsMax).map((entry) => asObject(entry) ?? {});
  const models = entries.filter(canChat).flatMap((entry) => {
    const name = asText(entry["id"]);
    return name === undefined ? [] : [modelInfo(provider, name, toldLimits(entry))];
  });
  return { models, embeddings: provider.type === "openai" ? openAIEmbeddings(provider, entries) : [] };
}

function canChat(entry: WireObject): boolean {
  // Together: chat, language, image…; LM Studio: llm, vlm, embeddings; Anthropic: model.
  const type = asText(entry["type"]);
  if (type !== undefined && !["model", "chat", "language", "llm", "vlm", "base"].includes(type)) return false;
  if (asObject(entry["capabilities"])?.["completion_chat"] === false) return false; // Mistral
  const outputs = asArray(asObject(entry["architecture"])?.["output_modalities"]); // OpenRouter
  if (outputs.length > 0) return outputs.includes("text");
  return isChatModel(asText(entry["id"]) ?? "");
}

/** The names by which servers tell their limits. */
function toldLimits(entry: WireObject): Told {
  const firstCount = (...values: readonly unknown[]): number | undefined =>
    values.map(asCount).find((value) => value !== undefined && value > 0);
  const top = asObject(entry["top_provider"]) ?? {};
  return {
    contextWindow: firstCount(
      entry["loaded_context_length"],
      entry["context_window"],
      entry["context_length"],
      entry["max_context_length"],
      entry["max_model_len"],
      entry["max_input_tokens"],
      asObject(entry["meta"])?.["n_ctx"],
      asObject(entry["meta"])?.["n_ctx_train"],
    ),
    maxOutputTokens: firstCount(
      entry["max_completion_tokens"],
      top["max_completion_tokens"],
      entry["max_output_tokens"],
      entry["max_tokens"],
    ),
    displayName: asText(entry["display_name"]) ?? asText(entry["name"]),
  };
}

interface Told {
  readonly contextWindow?: number | undefined;
  readonly maxOutputTokens?: number | undefined;
  readonly displayName?: string | undefined;
}

/** `told` is what the provider said of the model; the rest is what is known of the name. */
export function modelInfo(provider: Provider, name: string, told: Told = {}): ModelInfo {
  const limits = knownLimits(name);
  return {
    handle: `${provider.name}/${name}`,
    name,
    displayName: told.displayName ?? name,
    providerType: provider.type,
    providerName: provider.name,
    endpointType: provider.endpointType,
    endpoint: provider.baseUrl,
    contextWindow: told.contextWindow ?? limits.contextWindow,
    maxOutputTokens: told.maxOutputTokens ?? limits.maxOutputTokens,
  };
}

const openAIDimensions: { readonly [name: string]: number } = {
  "text-embedding-3-small": 1536,
  "text-embedding-3-large": 3072,
  "text-embedding-ada-002": 1536,
};

function openAIEmbeddings(provider: Provider, entries: readonly WireObject[]): readonly EmbeddingModelInfo[] {
  const names = new Set(entries.map((entry) => entry["id"]));
  return Object.entries(openAIDimensions).flatMap(([name, dimensions]) =>
    names.has(name) ? [embeddingInfo(provider, name, dimensions)] : [],
  );
}

function embeddingInfo(provider: Provider, name: string, dimensions: number): EmbeddingModelInfo {
  return {
    handle: `${provider.name}/${name}`,
    name,
    displayName: name,
    providerType: provider.type,
    providerName: provider.name,
    endpointType: provider.endpointType,
    endpoint: provider.baseUrl,
    dimensions,
  };
}

function countEndingWith(facts: WireObject, ending: string): number | undefined {
  const name = Object.keys(facts).find((key) => key.endsWith(ending));
  return name === undefined ? undefined : asCount(facts[name]);
}

/** A GET, or with a body a POST. */
async function requestJson(provider: Provider, port: HttpPort, url: string, signal: AbortSignal, body?: WireObject): Promise<unknown> {
  const fail = (kind: ModelError["kind"], words: string, cause?: unknown): ModelError =>
    new ModelError(kind, withoutKey(`Cannot list the models of ${provider.name}: ${provider.baseUrl} ${words}`, provider), { cause });
  const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let response: Response;
  let text: string;
  try {
    response = await port.fetch(url, {
      headers: { ...providerHeaders(provider), "content-type": "application/json" },
      signal,
      redirect: "manual",
      ...post,
    });
    text = await readBounded(response);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw fail(
      signal.aborted ? "timeout" : "providerDown",
      signal.aborted ? "did not answer in time" : `cannot be reached (${cause instanceof Error ? cause.message : String(cause)})`,
      error,
    );
  }
  if (!response.ok) {
    const { kind, text: words } = readProviderError(response.status, text);
    throw fail(kind, `answered ${response.status}: ${words}`);
  }
  const parsed = parseJson(text);
  if (parsed === undefined) throw fail("invalidResponse", "answered with something that is not JSON");
  return parsed;
}

async function readBounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let count = 0;
  for await (const bytes of response.body ?? []) {
    count += bytes.length;
    if (count > listBytesMax) throw new RangeError(`sent more than ${listBytesMax} bytes`);
    parts.push(bytes);
  }
  return Buffer.concat(parts).toString("utf8");
}
