/** A Kelpie whose agents are used over MCP, and clients of the protocol's authors that use them, for tests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import Letta from "@letta-ai/letta-client";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie, type Kelpie } from "../../src/kelpie.ts";
import { type ScriptedAnswer, ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import { installed } from "./installed.ts";
import { node } from "./testing.ts";

const main = join(import.meta.dirname, "..", "..", "src", "main.ts");

/** What tests ask of a client, of whichever release. */
export type McpClient = Pick<Client, "callTool" | "listTools" | "listResources" | "listResourceTemplates" | "readResource">;
export type CallResult = Awaited<ReturnType<Client["callTool"]>>;

export interface Agents {
  readonly kelpie: Kelpie;
  readonly letta: Letta;
  readonly url: string;
  /** Messages that the model was asked about so far. */
  readonly asked: string[];
}

/** A Kelpie with a scripted model, which answers `You said: …` where `answer` does not know better. */
export async function startAgents(
  t: TestContext,
  options: { readonly apiKey?: string; readonly answer?: (text: string) => Promise<ScriptedAnswer | undefined> } = {},
): Promise<Agents> {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-mcp-"));
  const asked: string[] = [];
  const provider = await ScriptedProvider.start(async ({ lastMessage: { text } }) => {
    asked.push(text);
    return (await options.answer?.(text)) ?? { text: `You said: ${text}` };
  });
  const kelpie = await createKelpie({
    environment: new RealEnvironment({ level: "error" }),
    dataDirectory: join(folder, "data"),
    providers: { OPENAI_API_KEY: "key", OPENAI_API_BASE: `${provider.url}/v1` },
  });
  const { url } = await kelpie.serve({ port: 0, apiKey: options.apiKey });
  t.after(async () => {
    await kelpie.close();
    await provider[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  return { kelpie, url, asked, letta: new Letta({ baseURL: url, apiKey: options.apiKey ?? "none", maxRetries: 0 }) };
}

export type Revision = "2025-11-25" | "2026-07-28";

export interface ClientKind {
  readonly name: string;
  readonly connect: (t: TestContext, url: string, key?: string) => Promise<McpClient>;
}

/** Both releases of the official client, over both transports, in each of the revisions that they speak. */
export const clientKinds: readonly ClientKind[] = [
  ...(["2025-11-25", "2026-07-28"] as const).flatMap(
    (revision) =>
      [
        { name: `client 2 over HTTP, ${revision}`, connect: (t, url, key) => connectHttp(t, url, { revision, key }) },
        { name: `client 2 through kelpie mcp serve, ${revision}`, connect: (t, url, key) => connectStdio(t, url, { revision, key }) },
      ] satisfies ClientKind[],
  ),
  { name: "client 1 over HTTP", connect: (t, url, key) => connectFirst(t, "streamableHttp", url, key) },
  { name: "client 1 through kelpie mcp serve", connect: (t, url, key) => connectFirst(t, "stdio", url, key) },
];

interface Connection {
  readonly revision: Revision;
  readonly key?: string | undefined;
}

export async function connectHttp(t: TestContext, url: string, { revision, key }: Connection): Promise<Client> {
  const client = clientOf(revision);
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers: bearer(key) } }));
  t.after(() => client.close());
  return client;
}

async function connectStdio(t: TestContext, url: string, { revision, key }: Connection): Promise<Client> {
  const client = clientOf(revision);
  await client.connect(new StdioClientTransport(bridge(url, key)));
  t.after(() => client.close());
  return client;
}

/** The first release of the official client, which many hosts have inside. What differs is where `callTool` takes its options. */
async function connectFirst(
  t: TestContext,
  transport: "stdio" | "streamableHttp",
  url: string,
  key: string | undefined,
): Promise<McpClient> {
  const load = async (file: string): Promise<Record<string, new (...args: unknown[]) => Client>> =>
    (await import(await installed(`@modelcontextprotocol/sdk/dist/esm/client/${file}.js`))) as never;
  const { Client: FirstClient } = await load("index");
  const { StdioClientTransport: Stdio, StreamableHTTPClientTransport: Http } = await load(transport);
  const way =
    transport === "stdio" ? new Stdio!(bridge(url, key)) : new Http!(new URL(`${url}/mcp`), { requestInit: { headers: bearer(key) } });
  const client = new FirstClient!({ name: "test", version: "1" });
  await client.connect(way as never);
  t.after(() => client.close());
  const callTool = client.callTool.bind(client) as (params: object, schema: undefined, options: unknown) => ReturnType<Client["callTool"]>;
  return Object.assign(client, { callTool: ((params, options) => callTool(params, undefined, options)) as Client["callTool"] });
}

export function clientOf(revision: Revision): Client {
  return new Client(
    { name: "test", version: "1" },
    { versionNegotiation: { mode: revision === "2025-11-25" ? "legacy" : { pin: revision } } },
  );
}

function bridge(url: string, key: string | undefined): { command: string; args: string[]; env: Record<string, string>; stderr: "inherit" } {
  const env = { KELPIE_SERVER: url, ...(key === undefined ? {} : { KELPIE_API_KEY: key }) };
  return { command: node, args: [main, "mcp", "serve"], env, stderr: "inherit" };
}

function bearer(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/** The texts of a result, one after the other. */
export function textOf(result: CallResult): string {
  return result.content.map((part) => (part.type === "text" ? part.text : part.type)).join("\n");
}
