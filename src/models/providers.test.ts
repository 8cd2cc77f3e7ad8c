import assert from "node:assert/strict";
import { test } from "node:test";
import {
  configuredProviders,
  localProviders,
  ProviderConfigurationError,
  providerFromInput,
  providerVariableNames,
  variableFor,
} from "./providers.ts";

const tables: readonly (readonly [variables: { readonly [name: string]: string }, names: readonly string[], baseUrl?: string])[] = [
  [{}, []],
  [{ OPENAI_API_KEY: "k" }, ["openai"], "https://api.openai.com/v1"],
  [{ OPENAI_API_KEY: "k", OPENAI_API_BASE: "http://127.0.0.1:9/custom/v2/" }, ["openai"], "http://127.0.0.1:9/custom/v2"],
  [{ OPENAI_API_BASE: "http://127.0.0.1:9" }, []], // A base without a key configures nothing, as in Letta.
  [{ OPENAI_API_KEY: " " }, []],
  [{ ANTHROPIC_API_KEY: "k\n" }, ["anthropic"], "https://api.anthropic.com/v1"],
  [{ OLLAMA_BASE_URL: "http://localhost:11434" }, ["ollama"], "http://localhost:11434/v1"],
  [{ OLLAMA_BASE_URL: "http://localhost:11434/v1/" }, ["ollama"], "http://localhost:11434/v1"],
  [{ LMSTUDIO_BASE_URL: "http://localhost:1234" }, ["lmstudio_openai"], "http://localhost:1234/v1"],
  [{ VLLM_API_BASE: "http://gpu:8000/v1" }, ["vllm"], "http://gpu:8000/v1"],
  [{ LLAMACPP_BASE_URL: "http://localhost:8080" }, ["llamacpp"], "http://localhost:8080/v1"],
  [
    {
      XAI_API_KEY: "k",
      GROQ_API_KEY: "k",
      OPENROUTER_API_KEY: "k",
      ANTHROPIC_API_KEY: "k",
      TOGETHER_API_KEY: "k",
      DEEPSEEK_API_KEY: "k",
      MISTRAL_API_KEY: "k",
    },
    ["anthropic", "openrouter", "groq", "together", "deepseek", "xai", "mistral"],
  ],
];
for (const [variables, names, baseUrl] of tables) {
  test(`${JSON.stringify(variables)} configures ${names.join(", ") || "nothing"}`, () => {
    const providers = configuredProviders(variables);
    assert.deepEqual(
      providers.map(({ name }) => name),
      names,
    );
    if (baseUrl !== undefined) assert.equal(providers[0]?.baseUrl, baseUrl);
  });
}

const wrong: readonly (readonly [variables: { readonly [name: string]: string }, message: RegExp])[] = [
  [{ OLLAMA_BASE_URL: "localhost:11434" }, /^OLLAMA_BASE_URL must be a URL such as http:\/\/127\.0\.0\.1:11434, not "localhost:11434"$/],
  [{ OLLAMA_BASE_URL: "http://" }, /^OLLAMA_BASE_URL must be a URL/],
  [{ OLLAMA_BASE_URL: "http://me:secret@host" }, /^OLLAMA_BASE_URL must not hold a user and password$/],
  [{ VLLM_API_BASE: "http://host/v1?key=1" }, /^VLLM_API_BASE must not hold a query/],
  [{ OPENAI_API_KEY: "sk-secret with spaces" }, /^OPENAI_API_KEY must have only visible ASCII/],
  [{ OPENAI_API_KEY: "sk-secret-é" }, /^OPENAI_API_KEY must have only visible ASCII/],
];
for (const [variables, message] of wrong) {
  test(`${JSON.stringify(variables)} is refused, without repeating a secret`, () => {
    assert.throws(
      () => configuredProviders(variables),
      (error) => error instanceof ProviderConfigurationError && message.test(error.message) && !error.message.includes("secret"),
    );
  });
}

test("Local servers are looked for where they listen, except those that are configured", () => {
  assert.deepEqual(
    localProviders([]).map(({ name, baseUrl, category }) => [name, baseUrl, category]),
    [
      ["lmstudio_openai", "http://127.0.0.1:1234/v1", "local"],
      ["ollama", "http://127.0.0.1:11434/v1", "local"],
    ],
  );
  assert.deepEqual(
    localProviders(configuredProviders({ OLLAMA_BASE_URL: "http://gpu:11434" })).map(({ name }) => name),
    ["lmstudio_openai"],
  );
});

test("A provider made through the API has its own name, key and address", () => {
  const provider = providerFromInput({ name: "my-vllm", provider_type: "vllm", api_key: "k", base_url: "http://gpu:8000" });
  assert.deepEqual(
    [provider.name, provider.type, provider.baseUrl, provider.apiKey, provider.category],
    ["my-vllm", "vllm", "http://gpu:8000/v1", "k", "byok"],
  );
  assert.equal(providerFromInput({ name: "mine", provider_type: "openai", api_key: "k" }).baseUrl, "https://api.openai.com/v1");
});

for (const [input, message] of [
  [{ name: "x", provider_type: "bedrock", api_key: "k" }, /provider type "bedrock", must be one of openai, anthropic/],
  [{ name: "a/b", provider_type: "openai", api_key: "k" }, /Cannot name a provider "a\/b"/],
  [{ name: "x", provider_type: "openai", api_key: "" }, /type openai needs an api_key/],
  [{ name: "x", provider_type: "ollama" }, /type ollama needs a base_url/],
] as const) {
  test(`The provider ${JSON.stringify(input)} is refused`, () =>
    assert.throws(
      () => providerFromInput(input),
      (error) => error instanceof ProviderConfigurationError && message.test(error.message),
    ));
}

test("Each provider says which variable would configure it", () => {
  assert.deepEqual([variableFor("openai"), variableFor("ollama"), variableFor("nobody")], ["OPENAI_API_KEY", "OLLAMA_BASE_URL", undefined]);
  for (const name of ["OPENAI_API_KEY", "OPENAI_API_BASE", "OLLAMA_BASE_URL", "LMSTUDIO_BASE_URL"])
    assert.ok(providerVariableNames.includes(name));
});
