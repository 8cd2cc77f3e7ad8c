/**
 * The models of the configured, the discovered and the added providers, and `kelpie/demo`.
 *
 * A provider is asked for its models when somebody wants to know, and again when the answer is old; nobody waits for
 * one longer than `discoveryMillisecondsMax`. A handle that is known is never asked for again on the way to a call.
 */
import type { Environment } from "../environment/environment.ts";
import { AnthropicModel } from "./anthropic-messages.ts";
import { DemoModel, demoModelInfo } from "./demo-model.ts";
import { type Discovered, discoverModels, modelInfo } from "./discovery.ts";
import type { EmbeddingModelInfo } from "./embedding-model.ts";
import { defaultModelCallLimits, type Fetch, type HttpPort, type ModelCallLimits, realFetch } from "./http-port.ts";
import { findAlias, type ReasoningEffort, splitEffort } from "./model-alias.ts";
import { type Model, ModelError, type ModelInfo, ModelNotFoundError, type Models } from "./model.ts";
import { OpenAIChatModel } from "./openai-chat.ts";
import type { Provider } from "./provider.ts";
import { localProviders, ProviderConfigurationError, variableFor } from "./providers.ts";
import { withReasoningEffort } from "./reasoning-default.ts";
import { shorten } from "./wire-json.ts";

export interface ModelCatalogueOptions {
  readonly environment: Environment;
  /** From `configuredProviders`. */
  readonly providers: readonly Provider[];
  /** For agents that name no model, and what `letta/auto` stands for. */
  readonly defaultHandle?: string | undefined;
  /** Looks for Ollama and LM Studio on this machine. */
  readonly discoverLocal?: boolean;
  /** Caps every model's context window, as Letta's `GLOBAL_MAX_CONTEXT_WINDOW_LIMIT`; 128,000 by default. */
  readonly contextWindowMax?: number;
  /** Between two tokens of the demo model; 20 by default. */
  readonly demoTokenMilliseconds?: number;
  readonly limits?: Partial<ModelCallLimits>;
  readonly discoveryMillisecondsMax?: number;
  readonly fetch?: Fetch;
}

/** How long a provider's list of models is taken for true. */
const listMilliseconds = 60_000;
/** A handle that is not in the list asks again, but not more often than this. */
const askAgainMilliseconds = 5_000;
const handlesInMessageMax = 50;
const autoHandle = "letta/auto";
const autoHandles: ReadonlySet<string> = new Set([autoHandle, "letta/auto-fast"]);
const never = -Infinity;

interface Entry {
  readonly provider: Provider;
  /** The latest list; undefined before the first, and where the provider never answered. */
  found: Discovered | undefined;
  askedAt: number;
  asking: Promise<void> | undefined;
  error: ModelError | undefined;
}

export class ModelCatalogue implements Models {
  readonly #environment: Environment;
  readonly #port: HttpPort;
  readonly #configuredDefault: string | undefined;
  readonly #contextWindowMax: number;
  readonly #discoveryMillisecondsMax: number;
  readonly #demo: DemoModel;
  /** By name, in the order of configuration. */
  readonly #entries = new Map<string, Entry>();
  /** Asked before a model is said not to exist whose provider is unknown: one may have been added at another node. */
  lookForProviders: () => Promise<void> = async () => {};

  constructor(options: ModelCatalogueOptions) {
    this.#environment = options.environment;
    this.#port = {
      environment: options.environment,
      fetch: options.fetch ?? realFetch,
      limits: { ...defaultModelCallLimits, ...options.limits },
    };
    this.#configuredDefault = options.defaultHandle;
    this.#contextWindowMax = options.contextWindowMax ?? 128_000;
    this.#discoveryMillisecondsMax = options.discoveryMillisecondsMax ?? 1_500;
    this.#demo = new DemoModel({ environment: options.environment, tokenMilliseconds: options.demoTokenMilliseconds ?? 20 });
    const local = options.discoverLocal === true ? localProviders(options.providers) : [];
    for (const provider of [...options.providers, ...local]) this.addProvider(provider);
  }

  /** @throws {ProviderConfigurationError} There is one of this name, or the name is Kelpie's or Letta's own. */
  addProvider(provider: Provider): void {
    if (provider.apiKey !== undefined) this.#environment.log.hide([provider.apiKey]);
    if (this.isTaken(provider.name))
      throw new ProviderConfigurationError(`Cannot add a provider named ${provider.name}: the name is taken`);
    this.#entries.set(provider.name, { provider, found: undefined, askedAt: never, asking: undefined, error: undefined });
  }

  /** Whether a provider has the name, or it is Kelpie's or Letta's own. */
  isTaken(name: string): boolean {
    return this.#entries.has(name) || name === "kelpie" || name === "letta";
  }

  /** Whether there was one of this name. Calls that are under way go on. */
  removeProvider(name: string): boolean {
    return this.#entries.delete(name);
  }

  /** Configured, local and added ones; the local ones may not be there. */
  providers(): readonly Provider[] {
    return [...this.#entries.values()].map(({ provider }) => provider);
  }

  /** Whether a provider answers to its key at its address. @throws {ModelError} It does not. */
  async checkProvider(provider: Provider): Promise<void> {
    await this.#discover(provider);
  }

  /** `letta/auto` until the provider that decides was asked for its models. */
  get defaultHandle(): string {
    return this.#configuredDefault ?? this.#firstDefault() ?? demoModelInfo.handle;
  }

  /** The default first, then in the order of providers, the demo model last. */
  async list(): Promise<readonly ModelInfo[]> {
    await Promise.all([...this.#entries.values()].map((entry) => this.#refresh(entry, listMilliseconds)));
    const { defaultHandle } = this;
    const all = this.#known();
    return [...all.filter(({ handle }) => handle === defaultHandle), ...all.filter(({ handle }) => handle !== defaultHandle)];
  }

  async embeddings(): Promise<readonly EmbeddingModelInfo[]> {
    await Promise.all([...this.#entries.values()].map((entry) => this.#refresh(entry, listMilliseconds)));
    return [...this.#entries.values()].flatMap(({ found }) => found?.embeddings ?? []);
  }

  async describe(handle: string): Promise<ModelInfo> {
    return (await this.#resolve(handle)).info;
  }

  async open(handle: string): Promise<Model> {
    const { info, effort } = await this.#resolve(handle);
    const model = this.#open(info);
    return effort === undefined ? model : withReasoningEffort(model, effort);
  }

  #open(info: ModelInfo): Model {
    if (info.handle === demoModelInfo.handle) return this.#demo;
    const entry = this.#entries.get(info.providerName);
    if (entry === undefined) throw this.#notFound(info.handle);
    const options = { handle: info.handle, name: info.name, provider: entry.provider, port: this.#port };
    if (entry.provider.protocol === "openaiChat") return new OpenAIChatModel(options);
    return new AnthropicModel({ ...options, maxOutputTokens: Math.min(info.maxOutputTokens ?? 8_192, 32_000) });
  }

  async #resolve(handle: string): Promise<Resolved> {
    if (autoHandles.has(handle)) {
      // A provider has a default only once it was asked, and a local one only while it is there.
      if (this.#configuredDefault === undefined && [autoHandle, demoModelInfo.handle].includes(this.defaultHandle)) await this.list();
      return autoHandles.has(this.defaultHandle) ? { info: demoModelInfo } : this.#resolve(this.defaultHandle);
    }
    const known = this.#find(handle);
    if (known !== undefined) return known;
    if (!this.#entries.has(providerName(handle))) await this.lookForProviders();
    const entry = this.#entries.get(providerName(handle));
    if (entry === undefined) await this.list();
    else await this.#refresh(entry, askAgainMilliseconds);
    const found = this.#find(handle);
    if (found !== undefined) return found;
    // A provider that was never reached, or that has no list, may still have the model: the call will tell.
    if (entry !== undefined && entry.found === undefined && entry.provider.category !== "local") {
      const { name, effort } = splitEffort(handle.slice(handle.indexOf("/") + 1));
      const info = this.#capped(modelInfo(entry.provider, name));
      return effort === undefined ? { info } : { info, effort };
    }
    throw this.#notFound(handle, entry);
  }

  #find(handle: string): Resolved | undefined {
    const models = this.#known();
    const exact = models.find((model) => model.handle === handle);
    return exact === undefined ? findAlias(handle, models) : { info: exact };
  }

  #known(): readonly ModelInfo[] {
    return [...[...this.#entries.values()].flatMap(({ found }) => found?.models ?? []).map((info) => this.#capped(info)), demoModelInfo];
  }

  #capped(info: ModelInfo): ModelInfo {
    return info.contextWindow <= this.#contextWindowMax ? info : { ...info, contextWindow: this.#contextWindowMax };
  }

  /** The best model of the first provider that is configured and has one. */
  #firstDefault(): string | undefined {
    for (const { provider, found, askedAt } of this.#entries.values()) {
      if (provider.category !== "base") continue;
      if (askedAt === never) return autoHandle;
      const names = found?.models.map(({ name }) => name);
      // A provider that did not answer is taken to have its usual models; a local one has none.
      const name =
        names === undefined
          ? provider.preferredModels[0]
          : (provider.preferredModels.find((preferred) => names.includes(preferred)) ?? names[0]);
      if (name !== undefined) return `${provider.name}/${name}`;
    }
    return undefined;
  }

  /** Never fails: what it could not learn shows in the entry. One question at a time for each provider. */
  async #refresh(entry: Entry, ageMax: number): Promise<void> {
    if (entry.asking === undefined && this.#environment.clock.elapsed() - entry.askedAt < ageMax) return;
    entry.asking ??= this.#ask(entry).finally(() => {
      entry.asking = undefined;
    });
    await entry.asking;
  }

  async #ask(entry: Entry): Promise<void> {
    const { provider } = entry;
    try {
      entry.found = await this.#discover(provider);
      entry.error = undefined;
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      entry.error = error;
      // A local server that is gone has no models; what a remote one said last is more likely true than not.
      if (provider.category === "local" || provider.discovery === "ollama" || provider.discovery === "lmstudio") entry.found = undefined;
      if (provider.category !== "local")
        this.#environment.log.write("warn", "A provider did not tell its models", { provider: provider.name, reason: error.message });
    }
    entry.askedAt = this.#environment.clock.elapsed();
  }

  async #discover(provider: Provider): Promise<Discovered> {
    const controller = new AbortController();
    const cancel = this.#environment.clock.schedule(this.#discoveryMillisecondsMax, () => controller.abort());
    try {
      return await discoverModels(provider, this.#port, controller.signal);
    } finally {
      cancel();
    }
  }

  #notFound(handle: string, entry?: Entry): ModelNotFoundError {
    const handles = this.#known().map((model) => `'${model.handle}'`);
    const listed = handles.slice(0, handlesInMessageMax).join(", ");
    const more = handles.length > handlesInMessageMax ? `, and ${handles.length - handlesInMessageMax} more` : "";
    return new ModelNotFoundError(
      `Handle ${shorten(handle, 100)} not found, must be one of [${listed}${more}]${this.#adviceFor(handle, entry)}`,
    );
  }

  #adviceFor(handle: string, entry: Entry | undefined): string {
    const name = providerName(handle);
    if (entry?.error !== undefined) return `. ${entry.error.message}`;
    if (this.#entries.has(name)) return "";
    const variable = variableFor(name);
    return variable === undefined ? "" : `. To use models of ${name}, set ${variable}`;
  }
}

interface Resolved {
  readonly info: ModelInfo;
  readonly effort?: ReasoningEffort;
}

function providerName(handle: string): string {
  return handle.split("/", 1)[0] ?? "";
}
