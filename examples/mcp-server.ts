/**
 * Kelpie as an MCP server: the official client of the Model Context Protocol makes an agent, talks to it and reads its memory, in
 * the way that Claude Code, Cursor and other hosts do.
 *
 *     node_modules/.bin/node examples/mcp-server.ts
 *
 * Its model is the demo model, so that this needs no key.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { ServerProcess } from "./start-server.ts";

const key = "the-key-of-this-example";
await using server = await ServerProcess.start({ KELPIE_API_KEY: key });

/** The text of a tool's result. */
async function call(client: Client, name: string, given: Record<string, unknown>): Promise<string> {
  const onprogress = ({ message }: { readonly message?: string | undefined }): void => console.log(`  … ${message ?? "still at it"}`);
  const { content } = await client.callTool({ name, arguments: given }, { onprogress });
  return content.map((part) => (part.type === "text" ? part.text : "")).join("");
}

// Over HTTP, for hosts that know the address of a server. This one speaks the newest revision of the protocol.
const overHttp = new Client({ name: "example", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
const headers = { authorization: `Bearer ${key}` };
await overHttp.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`), { requestInit: { headers } }));
const { tools } = await overHttp.listTools();
console.log(`Tools: ${tools.map(({ name }) => name).join(", ")}`);
await call(overHttp, "create_agent", { name: "Nessie", persona: "You live in a loch.", human: "Ada, who likes boats." });
console.log(`Nessie: ${await call(overHttp, "send_message", { agent: "Nessie", text: "Hello! I am Ada." })}`);
await overHttp.close();

// Over standard input and output, for hosts that start programs. This one speaks the revision of before.
const overStdio = new Client({ name: "example", version: "1" });
const program = join(import.meta.dirname, "..", "src", "main.ts");
const env = { KELPIE_SERVER: server.url, KELPIE_API_KEY: key };
await overStdio.connect(new StdioClientTransport({ command: process.execPath, args: [program, "mcp", "serve"], env }));
const conversation = await call(overStdio, "list_messages", { agent: "Nessie" });
assert.match(conversation, /Hello! I am Ada\./);

// Agents, their blocks and their conversations are resources too.
const [nessie] = (await overStdio.listResources()).resources;
const { contents } = await overStdio.readResource({ uri: `${nessie!.uri}/blocks/human` });
assert.ok(contents[0] !== undefined && "text" in contents[0]);
console.log(`What Nessie knows: ${contents[0].text}`);
assert.equal(contents[0].text, "Ada, who likes boats.");

// A mistake is an answer that a model can use.
console.log(await call(overStdio, "send_message", { agent: "Morag", text: "Hello" }));
await overStdio.close();
