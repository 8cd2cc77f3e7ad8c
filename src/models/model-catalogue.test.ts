import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelCatalogue, type ModelCatalogueOptions } from "./model-catalogue.ts";
import { ModelError, ModelNotFoundError } from "./model.ts";
import { configuredProviders, ProviderConfigurationError, providerFromInput, type ProviderVariables } from "./providers.ts";
import { collect, summarize, userRequest } from "./testing/collect.ts";
import { ManualEnvironment } from "./testing/manual-environment.ts";
import { type RawAnswer, type ScriptedRequest, ScriptedProvider } from "./testing/scripted-provider.ts";

interface Bench {
  readonly catalogue: ModelCatalogue;
  readonly environment: ManualEnvironment;
}

function bench(variables: ProviderVariables = {}, options: Partial<ModelCatalogueOptions> = {}): Bench {
  const environment = new ManualEnvironment();
  return {
    environment,
    catalogue: new ModelCatalogue({ environment, providers: configuredProviders(variables), demoTokenMilliseconds: 0, ...options }),
  };
}

function json(body: unknown): RawAnswer {
  return { headers: { "content-type": "application/json" }, steps: [JSON.stringify(body)] };
}

async function handles(catalogue: ModelCatalogue): Promise<readonly string[]> {
  return (await catalogue.list()).map(({ handle }) => handle);
}

test("Without any configuration there is the demo model, and it is the default", async () => {
  const { catalogue } = bench();
  assert.equal(catalogue.defaultHandle, "kelpie/demo");
  assert.deepEqual(await handles(catalogue), ["kelpie/demo"]);
  assert.equal((await catalogue.describe("letta/auto")).handle, "kelpie/demo");
  const { text } = summarize((await collect(await catalogue.open("letta/auto-fast"), userRequest("help"))).events);
  assert.match(text, /not a language model/);
});

test("A provider's models are listed, the default first, the demo model last, with capped context windows", async () => {
  await using provider = await ScriptedProvider.start(() => ({ text: "" }), {
    models: ["gpt-4o", "text-embedding-3-small", "whisper-1", "gpt-4.1-mini", "gpt-4o-audio-preview"],
  });
  const { catalogue } = bench({ OPENAI_API_KEY: "k", OPENAI_API_BASE: provider.url });
  assert.equal(catalogue.defaultHandle, "letta/auto", "Before it is asked, nobody knows what it has");
  assert.deepEqual(await handles(catalogue), ["openai/gpt-4.1-mini", "openai/gpt-4o", "kelpie/demo"]);
  assert.equal(catalogue.defaultHandle, "openai/gpt-4.1-mini");
  assert.equal((await catalogue.describe("openai/gpt-4.1-mini")).contextWindow, 128_000);
  assert.deepEqual(
    (await catalogue.embeddings()).map(({ handle, dimensions }) => [handle, dimensions]),
    [["openai/text-embedding-3-small", 1536]],
  );
  const wide = bench({ OPENAI_API_KEY: "k", OPENAI_API_BASE: provider.url }, { contextWindowMax: 10_000_000 });
  assert.equal((await wide.catalogue.describe("openai/gpt-4.1-mini")).contextWindow, 1_047_576);
});

test("The list is asked for once for many callers, and again when it is old", async () => {
  let asked = 0;
  await using provider = await ScriptedProvider.start(() => (asked++, json({ data: [{ id: "m", max_model_len: 4_096 }] })));
  // A path that the scripted provider does not answer itself.
  const fetchCounted: ModelCatalogueOptions["fetch"] = (url, init) => fetch(url.replace("/v1/models", "/v1/list"), init);
  const { catalogue, environment } = bench({ VLLM_API_BASE: provider.url }, { fetch: fetchCounted });
  await Promise.all([catalogue.list(), catalogue.list(), catalogue.describe("vllm/m")]);
  assert.equal(asked, 1);
  assert.equal((await catalogue.describe("vllm/m")).contextWindow, 4_096);
  environment.advance(61_000);
  await catalogue.describe("vllm/m");
  assert.equal(asked, 1, "A known handle asks nobody");
  await catalogue.list();
  assert.equal(asked, 2);
  await assert.rejects(catalogue.describe("vllm/other"), ModelNotFoundError);
  assert.equal(asked, 2, "An unknown handle asks again, but not at once");
  environment.advance(5_000);
  await assert.rejects(catalogue.describe("vllm/other"), ModelNotFoundError);
  assert.equal(asked, 3);
});

test("Ollama's models come with their context windows, embedding models apart", async () => {
  const show: { readonly [model: string]: unknown } = {
    "llama3.2:latest": { capabilities: ["completion", "tools"], model_info: { "llama.context_length": 131_072 } },
    "small:1b": {
      capabilities: ["completion"],
      model_info: { "qwen.context_length": 32_768 },
      parameters: "stop x\nnum_ctx                        8192",
    },
    "nomic-embed-text:latest": { capabilities: ["embedding"], model_info: { "nomic-bert.embedding_length": 768 } },
  };
  await using provider = await ScriptedProvider.start((request: ScriptedRequest) =>
    request.path === "/api/tags"
      ? json({ models: Object.keys(show).map((name) => ({ name })) })
      : request.path === "/api/show"
        ? json(show[String(request.body["model"])])
        : { text: "Hello" },
  );
  const { catalogue } = bench({ OLLAMA_BASE_URL: provider.url }, { contextWindowMax: 1_000_000 });
  assert.equal(catalogue.defaultHandle, "letta/auto", "Nothing is known of a local server before it is asked");
  assert.equal((await catalogue.describe("letta/auto")).handle, "ollama/llama3.2:latest");
  assert.deepEqual(
    (await catalogue.list()).map(({ handle, contextWindow }) => [handle, contextWindow]),
    [
      ["ollama/llama3.2:latest", 131_072],
      ["ollama/small:1b", 8_192],
      ["kelpie/demo", 128_000],
    ],
  );
  assert.deepEqual(
    (await catalogue.embeddings()).map(({ handle, dimensions }) => [handle, dimensions]),
    [["ollama/nomic-embed-text:latest", 768]],
  );
  const { events, error } = await collect(await catalogue.open("ollama/small:1b"), userRequest("Hi"));
  assert.equal(error, undefined);
  assert.equal(summarize(events).text, "Hello");
  assert.deepEqual([provider.requests[0]?.path, provider.requests[0]?.body["model"]], ["/v1/chat/completions", "small:1b"]);
});

const lists: readonly (readonly [
  name: string,
  variables: ProviderVariables,
  body: unknown,
  expected: readonly (readonly [string, number])[],
])[] = [
  [
    "OpenRouter",
    { OPENROUTER_API_KEY: "k" },
    {
      data: [
        { id: "z-ai/glm", context_length: 50_000, architecture: { output_modalities: ["text"] } },
        { id: "x/image", architecture: { output_modalities: ["image"] } },
      ],
    },
    [["openrouter/z-ai/glm", 50_000]],
  ],
  [
    "Together",
    { TOGETHER_API_KEY: "k" },
    [
      { id: "meta-llama/Llama-3.3-70B-Instruct-Turbo", type: "chat", context_length: 99_000 },
      { id: "flux", type: "image" },
    ],
    [["together/meta-llama/Llama-3.3-70B-Instruct-Turbo", 99_000]],
  ],
  [
    "Groq",
    { GROQ_API_KEY: "k" },
    { data: [{ id: "llama-guard-4" }, { id: "openai/gpt-oss-120b", context_window: 70_000 }] },
    [["groq/openai/gpt-oss-120b", 70_000]],
  ],
  [
    "Mistral",
    { MISTRAL_API_KEY: "k" },
    {
      data: [
        { id: "mistral-x", max_context_length: 40_000, capabilities: { completion_chat: true } },
        { id: "mistral-y", capabilities: { completion_chat: false } },
      ],
    },
    [["mistral/mistral-x", 40_000]],
  ],
  [
    "Anthropic",
    { ANTHROPIC_API_KEY: "k" },
    { data: [{ type: "model", id: "claude-haiku-4-5", display_name: "Claude Haiku 4.5", max_input_tokens: 90_000 }] },
    [["anthropic/claude-haiku-4-5", 90_000]],
  ],
  [
    "LM Studio",
    { LMSTUDIO_BASE_URL: "http://127.0.0.1:1" },
    {
      data: [
        { id: "qwen", type: "llm", max_context_length: 32_000, loaded_context_length: 9_000 },
        { id: "nomic", type: "embeddings" },
      ],
    },
    [["lmstudio_openai/qwen", 9_000]],
  ],
  [
    "llama.cpp",
    { LLAMACPP_BASE_URL: "http://127.0.0.1:1" },
    { data: [{ id: "gemma", meta: { n_ctx_train: 12_000 } }] },
    [["llamacpp/gemma", 12_000]],
  ],
];
for (const [name, variables, body, expected] of lists) {
  test(`The list of ${name} is understood`, async () => {
    const { catalogue } = bench(variables, { fetch: async () => Response.json(body) });
    assert.deepEqual(
      (await catalogue.list())
        .filter(({ providerType }) => providerType !== "kelpie")
        .map(({ handle, contextWindow }) => [handle, contextWindow]),
      expected,
    );
  });
}

test("Dead local servers are absent, and nobody waits for a silent one longer than the limit", async () => {
  const environment = new ManualEnvironment();
  const fetchDead: ModelCatalogueOptions["fetch"] = (url, init) => {
    if (url.includes("1234")) return Promise.reject(new TypeError("fetch failed"));
    return new Promise((_resolve, reject) => init.signal!.addEventListener("abort", () => reject(new Error("aborted"))));
  };
  const catalogue = new ModelCatalogue({ environment, providers: [], discoverLocal: true, fetch: fetchDead });
  const listing = catalogue.list();
  environment.advance(1_500);
  assert.deepEqual(
    (await listing).map(({ handle }) => handle),
    ["kelpie/demo"],
  );
  assert.deepEqual(environment.entries, [], "Nobody configured them, so nobody is warned");
  await assert.rejects(
    catalogue.open("ollama/llama3"),
    (error) => error instanceof ModelNotFoundError && /Cannot list the models of ollama/.test(error.message),
  );
});

test("A local server that is found is listed, but is not the default", async () => {
  const answer: ModelCatalogueOptions["fetch"] = (url) =>
    url.includes("11434")
      ? Promise.resolve(Response.json({ models: [{ name: "llama3.2" }] }))
      : Promise.reject(new TypeError("fetch failed"));
  const { catalogue } = bench({}, { discoverLocal: true, fetch: answer });
  assert.deepEqual(await handles(catalogue), ["kelpie/demo", "ollama/llama3.2"]);
});

test("A configured provider that cannot be reached is warned of, and its handles can still be opened", async () => {
  const { catalogue, environment } = bench({ OPENAI_API_KEY: "k" }, { fetch: () => Promise.reject(new TypeError("fetch failed")) });
  assert.deepEqual(await handles(catalogue), ["kelpie/demo"]);
  assert.deepEqual(
    environment.entries.map(({ level, message }) => `${level} ${message}`),
    ["warn A provider did not tell its models"],
  );
  assert.equal((await catalogue.open("openai/gpt-5-mini")).handle, "openai/gpt-5-mini");
  assert.equal((await catalogue.describe("openai/gpt-4o")).contextWindow, 128_000);
});

test("What a remote provider said last stays true while it is silent", async () => {
  let isUp = true;
  const { catalogue, environment } = bench(
    { GROQ_API_KEY: "k" },
    { fetch: () => (isUp ? Promise.resolve(Response.json({ data: [{ id: "m" }] })) : Promise.reject(new TypeError("fetch failed"))) },
  );
  await catalogue.list();
  isUp = false;
  environment.advance(61_000);
  assert.deepEqual(await handles(catalogue), ["groq/m", "kelpie/demo"]);
});

const unknown: readonly (readonly [handle: string, message: RegExp])[] = [
  [
    "openai/gpt-5",
    /^Handle openai\/gpt-5 not found, must be one of \['vllm\/m', 'kelpie\/demo'\]\. To use models of openai, set OPENAI_API_KEY$/,
  ],
  ["ollama/llama3", /To use models of ollama, set OLLAMA_BASE_URL$/],
  ["vllm/other", /^Handle vllm\/other not found, must be one of \['vllm\/m', 'kelpie\/demo'\]$/],
  ["nobody/knows", /must be one of \['vllm\/m', 'kelpie\/demo'\]$/],
  ["", /^Handle  not found/],
  ["x".repeat(10_000), /^Handle x{99}… not found/],
];
for (const [handle, message] of unknown) {
  test(`The handle ${handle.slice(0, 40)} is not found, and the message says what would be`, async () => {
    const { catalogue } = bench({ VLLM_API_BASE: "http://127.0.0.1:1" }, { fetch: async () => Response.json({ data: [{ id: "m" }] }) });
    for (const ask of [catalogue.describe(handle), catalogue.open(handle)])
      await assert.rejects(ask, (error) => error instanceof ModelNotFoundError && message.test(error.message));
  });
}

test("A long list of handles is shortened in the message", async () => {
  const { catalogue } = bench(
    { VLLM_API_BASE: "http://127.0.0.1:1" },
    { fetch: async () => Response.json({ data: Array.from({ length: 300 }, (_, index) => ({ id: `m${index}` })) }) },
  );
  await assert.rejects(catalogue.describe("vllm/other"), /'vllm\/m49', and 251 more\]$/);
});

const aliases: readonly (readonly [alias: string, handle: string, effort: string | undefined])[] = [
  ["gpt-5-mini", "openai/gpt-5-mini", undefined],
  ["gpt-5-mini-low", "openai/gpt-5-mini", "low"],
  ["openai/gpt-5-mini-xhigh", "openai/gpt-5-mini", "xhigh"],
  ["model-high", "openai/model-high", undefined], // A name that ends like a level is that name.
  ["model-high-low", "openai/model-high", "low"],
  ["sonnet-4.6", "openai/claude-sonnet-4-6", undefined],
  ["sonnet-4.6-low", "openai/claude-sonnet-4-6", "low"],
  ["Claude-Haiku-4.5", "openai/claude-haiku-4-5-20251001", undefined],
  ["demo", "kelpie/demo", undefined],
];
for (const [alias, handle, effort] of aliases) {
  test(`The alias ${alias} is ${handle}${effort === undefined ? "" : ` at ${effort}`}`, async () => {
    await using provider = await ScriptedProvider.start(() => ({ text: "Hi" }), {
      models: ["gpt-5-mini", "model-high", "claude-sonnet-4-6", "claude-haiku-4-5-20251001"],
    });
    const { catalogue } = bench({ OPENAI_API_KEY: "k", OPENAI_API_BASE: provider.url });
    assert.equal((await catalogue.describe(alias)).handle, handle);
    const model = await catalogue.open(alias);
    assert.equal(model.handle, handle);
    if (handle === "openai/gpt-5-mini") {
      await collect(model, userRequest("Hi"));
      assert.equal(provider.requests[0]?.body["reasoning_effort"], effort);
      await collect(model, userRequest("Hi", { settings: { reasoningEffort: "medium" } }));
      assert.equal(provider.requests[1]?.body["reasoning_effort"], "medium", "What a request says goes before");
    }
  });
}

test("A name that is there word for word goes before one that is only like it", async () => {
  const { catalogue } = bench(
    { VLLM_API_BASE: "http://127.0.0.1:1" },
    { fetch: async () => Response.json({ data: [{ id: "claude-opus" }, { id: "opus" }] }) },
  );
  assert.equal((await catalogue.describe("opus")).handle, "vllm/opus");
});

test("The configured default goes first, and letta/auto is that", async () => {
  const { catalogue } = bench(
    { VLLM_API_BASE: "http://127.0.0.1:1" },
    { defaultHandle: "vllm/b", fetch: async () => Response.json({ data: [{ id: "a" }, { id: "b" }] }) },
  );
  assert.equal(catalogue.defaultHandle, "vllm/b");
  assert.deepEqual(await handles(catalogue), ["vllm/b", "vllm/a", "kelpie/demo"]);
  assert.equal((await catalogue.open("letta/auto")).handle, "vllm/b");
});

test("The first agent after a start gets a model that the provider has, not one that it usually has", async () => {
  await using provider = await ScriptedProvider.start(() => ({ text: "" }), { models: ["house-model"] });
  const { catalogue } = bench({ OPENAI_API_KEY: "k", OPENAI_API_BASE: provider.url });
  assert.equal((await catalogue.describe(catalogue.defaultHandle)).handle, "openai/house-model");
  assert.equal(catalogue.defaultHandle, "openai/house-model");
});

test("A provider that does not answer is taken to have its usual model", async () => {
  const { catalogue } = bench({ OPENAI_API_KEY: "k", OPENAI_API_BASE: "http://127.0.0.1:1" });
  assert.equal((await catalogue.describe(catalogue.defaultHandle)).handle, "openai/gpt-5-mini");
  assert.equal(catalogue.defaultHandle, "openai/gpt-5-mini");
});

test("A default of letta/auto does not go round in circles", async () => {
  assert.equal((await bench({}, { defaultHandle: "letta/auto" }).catalogue.describe("letta/auto")).handle, "kelpie/demo");
});

test("A configured default that is not there is not found", async () => {
  await assert.rejects(bench({}, { defaultHandle: "openai/gpt-5" }).catalogue.open("letta/auto"), /set OPENAI_API_KEY/);
});

test("A provider is added and removed while Kelpie runs", async () => {
  await using provider = await ScriptedProvider.start(() => ({ text: "Hi" }), { models: ["m"] });
  const { catalogue } = bench();
  const mine = providerFromInput({ name: "mine", provider_type: "vllm", api_key: "k", base_url: provider.url });
  catalogue.addProvider(mine);
  assert.deepEqual(catalogue.providers(), [mine]);
  assert.deepEqual(await handles(catalogue), ["kelpie/demo", "mine/m"]);
  assert.throws(() => catalogue.addProvider(mine), ProviderConfigurationError);
  assert.throws(() => catalogue.addProvider({ ...mine, name: "kelpie" }), ProviderConfigurationError);
  assert.equal(catalogue.removeProvider("mine"), true);
  assert.equal(catalogue.removeProvider("mine"), false);
  assert.deepEqual(await handles(catalogue), ["kelpie/demo"]);
});

test("A provider is checked: a wrong key is an authentication error that does not repeat it", async () => {
  const key = "sk-wrong-key-0123";
  await using provider = await ScriptedProvider.start(() => ({
    status: 401,
    steps: [JSON.stringify({ error: { message: `Incorrect API key provided: ${key}` } })],
  }));
  const { catalogue } = bench();
  const mine = providerFromInput({ name: "mine", provider_type: "openai", api_key: key, base_url: `${provider.url}/other` });
  // The scripted provider lists models itself, so the check goes to another path.
  const checking = new ModelCatalogue({
    environment: new ManualEnvironment(),
    providers: [],
    fetch: (url, init) => fetch(url.replace("/models", "/list"), init),
  });
  await assert.rejects(
    checking.checkProvider(mine),
    (error) => error instanceof ModelError && error.kind === "authentication" && !error.message.includes(key),
  );
  await catalogue.checkProvider(mine);
});
