/**
 * What the official conformance suite runs as the client under test: Kelpie's own way to MCP servers, with its rows, its pins
 * and its authorizations. The suite names a scenario and gives the address of a server; every tool that the server offers is
 * called once.
 *
 * What a person would do is done here: agreeing in a browser, and a form filled in with its defaults.
 */
import type { Json } from "../../src/base/json.ts";
import { holdProcess } from "../../src/environment/hold-process.ts";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { SealingKey } from "../../src/storage/sealing-key.ts";
import { transact } from "../../src/storage/transaction.ts";
import { McpAuthorizationError } from "../../src/tools/mcp/mcp.ts";
import { McpTools } from "../../src/tools/mcp/mcp-tools.ts";
import { createMcpServer } from "../../src/tools/mcp/server-record.ts";
import type { ToolRecord } from "../../src/tools/tool-record.ts";

const project = "default";
const serverUrl = process.argv.at(-1)!;
const scenario = process.env["MCP_CONFORMANCE_SCENARIO"] ?? "";
const context = JSON.parse(process.env["MCP_CONFORMANCE_CONTEXT"] ?? "{}") as {
  readonly client_id?: string;
  readonly client_secret?: string;
  readonly toolCalls?: readonly { readonly name: string; readonly arguments: { readonly [name: string]: Json } }[];
};
const environment = new RealEnvironment({ level: "debug" });
const store = new MemoryStore();
const release = holdProcess();
const key = new SealingKey(environment.random.bytes(32), environment.random);
const sealingKey = (): SealingKey => key;
await using mcp = new McpTools({
  store,
  environment,
  sealingKey,
  // By which the suite knows the document that says who a client is.
  publicUrl: () => "https://conformance-test.local",
  elicit: async () => ({ action: "accept", content: {} }),
});

const { client_id, client_secret } = context;
const { id } = await transact(store, environment, (transaction) =>
  createMcpServer(transaction, { environment, sealingKey }, project, {
    server_name: "conformance",
    config: {
      mcp_server_type: "streamable_http",
      server_url: serverUrl,
      oauth_client: client_id === undefined ? null : { client_id, client_secret },
    },
  }),
);
try {
  await authorized(() => mcp.refresh(project, id));
  const records = await mcp.list(project, id);
  for (const record of records) {
    const wanted = context.toolCalls?.filter(({ name }) => record.name === `conformance__${name}`);
    const inputs = wanted?.map((each) => each.arguments) ?? [argumentsFor(record, records)];
    for (const input of inputs) await authorized(() => call(record, input));
  }
} finally {
  release();
}

/** A call that fails is a result that its agent sees; the next one is made all the same. */
async function call(record: ToolRecord, input: { readonly [name: string]: Json }): Promise<void> {
  const context = {
    effectId: environment.random.uuid(),
    signal: new AbortController().signal,
    project,
    agentId: "agent",
    conversationId: "default",
  };
  try {
    const { status, text } = await mcp.tool(record)!.execute(input, context);
    process.stderr.write(`${scenario}: ${record.name} gave ${status}: ${text.slice(0, 200)}\n`);
  } catch (error) {
    if (error instanceof McpAuthorizationError) throw error;
    process.stderr.write(`${scenario}: ${record.name} failed: ${String(error)}\n`);
  }
}

/** Does `work`; where that needs a person, sends one and does it again, at most twice. */
async function authorized(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++)
    try {
      await work();
      return;
    } catch (error) {
      if (!(error instanceof McpAuthorizationError) || attempt === 2) throw error;
      const answer = await fetch(error.url, { redirect: "manual" });
      await mcp.authorize(project, new URL(answer.headers.get("location")!).searchParams);
    }
}

/** A value of each property that the schema has, of its type. One called `schema` is asked for that of the first tool. */
function argumentsFor(record: ToolRecord, records: readonly ToolRecord[]): { readonly [name: string]: Json } {
  const { properties = {} } = record.json_schema["parameters"] as { readonly properties?: { readonly [name: string]: Property } };
  const schema = records[0]!.json_schema["parameters"]!;
  return Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, name === "schema" ? schema : valueOf(property)]));
}

interface Property {
  readonly type?: string;
  readonly enum?: readonly Json[];
  readonly default?: Json;
}

function valueOf(property: Property): Json {
  if (property.default !== undefined) return property.default;
  if (property.enum !== undefined) return property.enum[0]!;
  const values: { readonly [type: string]: Json } = { number: 5, integer: 5, boolean: true, array: [], object: {}, null: null };
  return values[property.type ?? "string"] ?? "text";
}
