/** One echo server, and the ways to call it: the SDK's client, Kelpie's, and agents whose model calls it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { calls, openTestAgents, type Script } from "../../../src/agents/testing.ts";
import { RealEnvironment } from "../../../src/environment/real-environment.ts";
import { SealingKey } from "../../../src/storage/sealing-key.ts";
import type { Store } from "../../../src/storage/store.ts";
import { transact } from "../../../src/storage/transaction.ts";
import { McpTools } from "../../../src/tools/mcp/mcp-tools.ts";
import type { McpServerConfig } from "../../../src/tools/mcp/mcp.ts";
import { createMcpServer } from "../../../src/tools/mcp/server-record.ts";
import { createTool } from "../../../src/tools/tool-record.ts";
import { ToolRegistry } from "../../../src/tools/tool-registry.ts";
import type { OutsideTool } from "../../../src/tools/tool.ts";
import type { Samples } from "../statistics.ts";

export type TransportKind = "stdio" | "http";

export interface EchoServer extends AsyncDisposable {
  readonly config: McpServerConfig;
  /** The SDK's client as its documentation connects it; over stdio with a process of its own. */
  connect(): Promise<Client>;
}

const program = join(import.meta.dirname, "echo-server.ts");

export async function startEcho(kind: TransportKind): Promise<EchoServer> {
  const command = { command: process.execPath, args: [program, kind] };
  await using open = new AsyncDisposableStack();
  let url = "";
  if (kind === "http") {
    const child = spawn(command.command, command.args, { stdio: ["pipe", "pipe", "inherit"] });
    open.defer(async () => {
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    });
    const [port] = (await once(child.stdout, "data")) as [Buffer];
    url = `http://127.0.0.1:${String(port).trim()}/mcp`;
  }
  const parts = open.move();
  return {
    config: kind === "stdio" ? { mcp_server_type: "stdio", ...command } : { mcp_server_type: "streamable_http", server_url: url },
    connect: async () => {
      // As Kelpie chooses, so that both speak the same revision.
      const client = new Client({ name: "bench", version: "1" }, { versionNegotiation: { mode: kind === "stdio" ? "legacy" : "auto" } });
      await client.connect(kind === "stdio" ? new StdioClientTransport(command) : new StreamableHTTPClientTransport(new URL(url)));
      parts.defer(() => client.close());
      return client;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

const project = "default";
const text = "hello";
const never = new AbortController().signal;

/** `inProcess`: a tool that does nothing, whose calls are kept in the ledger like those of any other. */
export type CalledTool = "echo" | "inProcess";

export interface KelpieCalls extends AsyncDisposable {
  /** Kelpie's client without an agent around it: nothing is kept of the call. Gives the id of the process that answered. */
  call(agentId: string): Promise<number>;
  makeAgent(tool: CalledTool, moreTools?: readonly string[]): Promise<RunCalls>;
  /** Makes so many tools that an agent can have and never calls; gives their ids. */
  makeTools(count: number): Promise<readonly string[]>;
}

/**
 * One run, in which the agent's model calls the tool as long as `goesOn` says. Adds to `samples` the milliseconds from each
 * call that the model has made to its next request. Gives the ids of the processes that answered.
 */
export type RunCalls = (samples: Samples, goesOn: (made: number) => boolean) => Promise<ReadonlySet<number>>;

interface OpenRun {
  readonly tool: string;
  readonly samples: Samples;
  readonly goesOn: (made: number) => boolean;
  made: number;
  calledAt: number | undefined;
}

const doNothing: OutsideTool = {
  name: "nothing",
  description: "Does nothing",
  parameters: { type: "object", properties: { text: { type: "string" } } },
  effect: "once",
  execute: async () => ({ status: "success", text: `${process.pid} ${text}` }),
};

/** Agents over `store`, and one connection of Kelpie's to the server. */
export async function openKelpie({ config }: EchoServer, store: Store): Promise<KelpieCalls> {
  const environment = new RealEnvironment({ level: "error" });
  const key = new SealingKey("the sealing key of this bench", environment.random);
  const sealingKey = (): SealingKey => key;
  await using open = new AsyncDisposableStack();
  const mcp = open.use(new McpTools({ store, environment, sealingKey }));
  const registry = new ToolRegistry();
  registry.register(doNothing);
  registry.addSource("external_mcp", (record) => mcp.tool(record));
  const runs = new Map<string, OpenRun>();
  const script: Script = function* (request) {
    const run = runs.get(String(request.cacheKey))!;
    kelpie.requests.length = 0;
    if (run.calledAt !== undefined) run.samples.add(performance.now() - run.calledAt);
    if (!run.goesOn(run.made)) {
      yield { type: "text", delta: "done" };
      return;
    }
    yield* calls({ name: run.tool, arguments: { text }, id: `call-${run.made++}` });
    run.calledAt = performance.now();
  };
  const kelpie = open.use(await openTestAgents(script, { store, environment, registry }));
  const { id } = await transact(store, environment, (transaction) =>
    createMcpServer(transaction, { environment, sealingKey }, project, { server_name: "bench", config }),
  );
  await mcp.refresh(project, id);
  const [record] = await mcp.list(project, id);
  const tool = mcp.tool(record!)!;
  const parts = open.move();
  return {
    async call(agentId) {
      const context = { effectId: "effect", signal: never, project, agentId, conversationId: "default" };
      return processOf(await tool.execute({ text }, context));
    },
    async makeAgent(called, moreTools = []) {
      const toolId = called === "echo" ? record!.id : registry.idOf(project, doNothing.name);
      const address = await kelpie.create({ tool_ids: [toolId, ...moreTools], include_base_tools: false });
      return async (samples, goesOn) => {
        const run: OpenRun = { tool: called === "echo" ? record!.name : doNothing.name, samples, goesOn, made: 0, calledAt: undefined };
        runs.set(address.agentId, run);
        const events = await kelpie.run(address, "Go on", { stepsMax: 1_000_000 });
        runs.delete(address.agentId);
        const returns = events.flatMap(({ message }) => (message.message_type === "tool_return_message" ? [message] : []));
        if (returns.length !== run.made) throw new Error(`${run.made} calls have ${returns.length} results`);
        return new Set(returns.map((each) => processOf({ status: String(each["status"]), text: String(each["tool_return"]) })));
      };
    },
    async makeTools(count) {
      const ids: string[] = [];
      for (let at = 0; at < count; at++) {
        const json_schema = { name: `more_${at}`, description: "Is there and is not called", parameters: doNothing.parameters };
        const made = await transact(store, environment, (transaction) =>
          createTool(transaction, environment, project, { source_type: "json", json_schema }),
        );
        ids.push(made.id);
      }
      return ids;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

/** Also that of an answer of the bare client. @throws {Error} It is not what the server gives. */
export function processOf(result: { readonly status: string; readonly text: string }): number {
  const [pid, said] = result.text.split(" ");
  if (result.status !== "success" || said !== text) throw new Error(`A call came to nothing: ${JSON.stringify(result)}`);
  return Number(pid);
}

/** A call of the bare client. */
export async function callBare(client: Client): Promise<number> {
  const { content, isError } = await client.callTool({ name: "echo", arguments: { text } });
  const [part] = content as readonly { readonly text?: string }[];
  return processOf({ status: isError === true ? "error" : "success", text: part?.text ?? "" });
}
