import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, loadConfig, providerVariables } from "./config.ts";
import { providerVariableNames } from "./models/providers.ts";

const load = (flags: Record<string, string>, variables: Record<string, string> = {}) =>
  loadConfig(new Map(Object.entries(flags)), variables);

test("Without flags and variables everything has its default", () => {
  const { config, providers, warnings } = load({});
  assert.deepEqual(config, {
    port: 8283,
    host: "127.0.0.1",
    apiKey: undefined,
    dataDirectory: ".kelpie",
    storeAddress: undefined,
    sealingKey: undefined,
    newSealingKey: false,
    publicUrl: undefined,
    unisolatedTools: false,
    nodeName: undefined,
    join: undefined,
    clusterSecret: undefined,
    clusterCertificate: undefined,
    clusterKey: undefined,
    clusterAuthority: undefined,
    clusterHost: "127.0.0.1",
    clusterPort: 0,
    capacity: 1,
    defaultModel: undefined,
    logLevel: "warn",
    logFormat: "text",
    stopSeconds: 20,
    leaveSeconds: 5,
    supervisor: true,
    contextWindowMax: 128_000,
    modelTimeoutSeconds: 240,
    discoverLocal: true,
    demoTokenMilliseconds: 20,
  });
  assert.deepEqual([providers, warnings], [{}, []]);
});

test("A flag comes before Kelpie's variable, and that before another program's name", () => {
  assert.equal(load({ port: "1" }, { KELPIE_PORT: "2", PORT: "3" }).config.port, 1);
  assert.equal(load({}, { KELPIE_PORT: "2", PORT: "3" }).config.port, 2);
  assert.equal(load({}, { PORT: "3" }).config.port, 3);
  assert.equal(load({}, { LETTA_SERVER_PASSWORD: "a-password" }).config.apiKey, "a-password");
  assert.equal(load({}, { LETTA_DEFAULT_LLM_HANDLE: "openai/gpt-5" }).config.defaultModel, "openai/gpt-5");
});

test("A node to join is named as people write it, or by its URL", () => {
  for (const join of ["localhost:8283", "http://localhost:8283", "http://localhost:8283/"])
    assert.equal(load({ join }).config.join, "http://localhost:8283");
  assert.equal(load({ join: "[::1]:8283" }).config.join, "http://[::1]:8283");
  assert.equal(load({ join: "https://kelpie.example" }).config.join, "https://kelpie.example");
});

test("An empty variable counts as not set", () => {
  assert.equal(load({}, { KELPIE_PORT: "", OPENAI_API_KEY: "" }).config.port, 8283);
  assert.deepEqual(load({}, { OPENAI_API_KEY: "" }).providers, {});
});

test("Variables of providers are handed on, others are not", () => {
  assert.deepEqual(load({}, { OPENAI_API_KEY: "sk-1", HOME: "/x", OLLAMA_BASE_URL: "http://localhost:11434" }).providers, {
    OPENAI_API_KEY: "sk-1",
    OLLAMA_BASE_URL: "http://localhost:11434",
  });
});

test("The table of settings has every variable that the providers read, and no other", () => {
  assert.deepEqual(providerVariables.map(({ name }) => name).toSorted(), [...providerVariableNames].toSorted());
});

test("Variables of Letta V1 that mean nothing here are named, with the reason", () => {
  const { warnings } = load({}, { LETTA_PG_URI: "postgresql://letta", LETTA_REDIS_HOST: "redis" });
  assert.equal(warnings.length, 2);
  assert.match(warnings[0]!, /LETTA_PG_URI is ignored: .*store file/);
});

test("Settings of clusters that mean nothing to a server alone are named", () => {
  const variables = { KELPIE_CLUSTER_SECRET: "a-secret-of-this-test", KELPIE_CAPACITY: "2" };
  const { warnings } = load({}, variables);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0]!, /^KELPIE_CLUSTER_SECRET is ignored: .*KELPIE_NODE/);
  assert.deepEqual(load({ node: "node1" }, variables).warnings, []);
});

test("That the code of tools may run without isolation is said at every start", () => {
  const { config, warnings } = load({}, { KELPIE_UNISOLATED_TOOLS: "yes" });
  assert.equal(config.unisolatedTools, true);
  assert.match(warnings[0]!, /^KELPIE_UNISOLATED_TOOLS: .* has all rights of the server$/);
});

for (const [flags, variables, message] of [
  [{ port: "http" }, {}, '--port must be a whole number from 0 to 65535, not "http"'],
  [{ port: "65536" }, {}, '--port must be a whole number from 0 to 65535, not "65536"'],
  [{ port: "-1" }, {}, '--port must be a whole number from 0 to 65535, not "-1"'],
  [{}, { PORT: "80 " }, 'PORT must be a whole number from 0 to 65535, not "80 "'],
  [{ prot: "1" }, {}, "There is no setting --prot. Did you mean port?"],
  [{}, { KELPIE_PROT: "1" }, "There is no setting KELPIE_PROT. Did you mean KELPIE_PORT?"],
  [{}, { KELPIE_ZZZZZZZZ: "1" }, "There is no setting KELPIE_ZZZZZZZZ."],
  [{}, { KELPIE_API_KEY: "short" }, "KELPIE_API_KEY must be at least 8 visible ASCII characters, without spaces"],
  [{ "log-level": "loud" }, {}, '--log-level must be one of debug, info, warn, error, not "loud"'],
  [{ model: "gpt-5" }, {}, '--model must be a handle such as openai/gpt-5-mini, not "gpt-5"'],
  [{ host: "a b" }, {}, '--host must be a host name or an IP address, not "a b"'],
  [{}, { OLLAMA_BASE_URL: "localhost:11434" }, 'OLLAMA_BASE_URL must be a URL that starts with http:// or https://, not "localhost:11434"'],
  [
    {},
    { OPENAI_API_KEY: "sk-1\n" },
    "OPENAI_API_KEY must be visible ASCII characters: there is a space, a line break or a foreign letter in it",
  ],
  [
    {},
    { KELPIE_STORE: "mysql://kelpie:hidden@db/k" },
    "KELPIE_STORE must be a URL like postgres://user:password@host:5432/database or foundationdb:///etc/foundationdb/fdb.cluster",
  ],
  [
    { store: "postgres://" },
    {},
    "--store must be a URL like postgres://user:password@host:5432/database or foundationdb:///etc/foundationdb/fdb.cluster",
  ],
  [
    { store: "foundationdb:fdb.cluster" },
    {},
    "--store must be a URL like postgres://user:password@host:5432/database or foundationdb:///etc/foundationdb/fdb.cluster",
  ],
  [
    { "cluster-certificate": "node.pem" },
    { KELPIE_CLUSTER_KEY: "node.key" },
    "For TLS between nodes KELPIE_CLUSTER_AUTHORITY must be set too: a certificate, its key and the cluster's authority",
  ],
  [{ node: "node 1" }, {}, '--node must be 1 to 63 characters of a-z A-Z 0-9 . _ -, not "node 1"'],
  [{ join: "localhost:8283/v1" }, {}, '--join must be the address of a node\'s API, such as localhost:8283, not "localhost:8283/v1"'],
  [{ join: "::" }, {}, '--join must be the address of a node\'s API, such as localhost:8283, not "::"'],
  [
    { "cluster-host": "0.0.0.0" },
    {},
    '--cluster-host must be the host name or IP address by which other nodes reach this one, not "0.0.0.0"',
  ],
  [{}, { KELPIE_CLUSTER_SECRET: "short" }, "KELPIE_CLUSTER_SECRET must be at least 16 visible ASCII characters, without spaces"],
  [{ "discover-local": "true" }, {}, '--discover-local must be yes or no, not "true"'],
  [{}, { SECURE: "true" }, "SECURE asks for a key, and none is set: set KELPIE_API_KEY"],
] as const)
  test(`Refused: ${message}`, () =>
    assert.throws(
      () => load(flags, variables),
      (error) => error instanceof ConfigError && error.message === message,
    ));
