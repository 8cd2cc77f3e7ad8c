import assert from "node:assert/strict";
import { test } from "node:test";
import { openTestServer } from "./testing.ts";

interface Document {
  readonly openapi: string;
  readonly paths: Record<
    string,
    Record<
      string,
      {
        readonly operationId: string;
        readonly responses: Record<string, unknown>;
        readonly parameters?: readonly { readonly name: string; readonly in: string }[];
      }
    >
  >;
  readonly components: { readonly schemas: Record<string, unknown> };
}

async function readDocument(): Promise<{
  readonly document: Document;
  readonly endpoints: readonly { readonly method: string; readonly path: string }[];
}> {
  await using server = await openTestServer();
  const answer = await server.call("GET", "/openapi.json");
  assert.deepEqual((await server.call("GET", "/v1/openapi.json/")).body, answer.body);
  return {
    document: answer.body as Document,
    endpoints: server.app.endpoints.map(({ definition }) => ({ method: definition.method, path: definition.path.replace("*}", "}") })),
  };
}

test("The OpenAPI 3.1 document has every endpoint, each under its own name and with its path parameters", async () => {
  const { document, endpoints } = await readDocument();
  assert.equal(document.openapi, "3.1.0");
  const ids = Object.values(document.paths).flatMap((operations) => Object.values(operations).map((operation) => operation.operationId));
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(ids.length, endpoints.length);
  for (const { method, path } of endpoints) {
    const operation = document.paths[path]?.[method];
    assert.ok(operation !== undefined, `${method} ${path}`);
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const documented = (operation.parameters ?? []).filter((parameter) => parameter.in === "path").map((parameter) => parameter.name);
    assert.deepEqual(documented.toSorted(), inPath.toSorted(), `${method} ${path}`);
  }
});

test("Letta's schemas are named components", async () => {
  const { document } = await readDocument();
  const named = Object.keys(document.components.schemas);
  for (const name of [
    "AgentState",
    "CreateAgentRequest",
    "UpdateAgent",
    "BlockResponse",
    "CreateBlock",
    "BlockUpdate",
    "Tool",
    "ToolCreate",
    "Run",
    "Step",
    "Conversation",
    "Archive",
    "Passage",
    "LettaResponse",
    "LettaMessageUnion",
    "AssistantMessage",
    "ApprovalRequestMessage",
    "MessageCreate",
    "ApprovalCreate",
    "LettaStreamingRequest",
    "Model",
    "EmbeddingModel",
    "Provider",
    "ContextWindowOverview",
  ])
    assert.ok(named.includes(name), name);
});

test("Every reference in the document names a component", async () => {
  const { document } = await readDocument();
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((match) => match[1]!);
  assert.ok(references.length > 100);
  for (const name of references) assert.ok(name in document.components.schemas, name);
});

test("Every endpoint answers with and without a slash at its end, and under /latest", async () => {
  await using server = await openTestServer();
  for (const { definition } of server.app.endpoints) {
    const path = definition.path.replace(/\{(\w+)\*?\}/g, (_, name: string) => (name === "method" ? "m" : "x"));
    for (const form of [path, `${path}/`, path.replace("/v1/", "/latest/")]) {
      const answer = await server.app.request(form, {
        method: definition.method.toUpperCase(),
        ...(definition.method === "get" ? {} : { body: "[" }),
      });
      const body = await answer.text();
      assert.notEqual(body, '{"detail":"Not Found"}', `${definition.method} ${form}`);
      assert.notEqual(answer.status, 405, `${definition.method} ${form}`);
      assert.ok(answer.status < 300 || answer.status >= 400, `${definition.method} ${form} redirects`);
    }
  }
});
