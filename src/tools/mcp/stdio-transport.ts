/**
 * The protocol over the standard streams of a child process.
 *
 * The SDK's own transport ends only the process that it started; a server behind `npx` or a script would stay. Here a
 * server is a process group of its own and ends whole: its input ends, then SIGTERM, then SIGKILL.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type JSONRPCMessage, ReadBuffer, serializeMessage, type Transport } from "@modelcontextprotocol/client";
import { getDefaultEnvironment } from "@modelcontextprotocol/client/stdio";
import { type McpServerConfig, mcpLimits } from "./mcp.ts";

type StdioConfig = Extract<McpServerConfig, { readonly mcp_server_type: "stdio" }>;

export class StdioTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  readonly #config: StdioConfig;
  readonly #buffer = new ReadBuffer({ maxBufferSize: mcpLimits.messageBytes });
  #child: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  #stderr = "";
  #linesIgnored = 0;

  constructor(config: StdioConfig) {
    this.#config = config;
  }

  /** The end of what the server wrote to its standard error. */
  get stderr(): string {
    return this.#stderr.trim();
  }

  /** Lines of its standard output that were not of the protocol. */
  get linesIgnored(): number {
    return this.#linesIgnored;
  }

  /** Resolves when the process runs. @throws What starting a process throws. */
  async start(): Promise<void> {
    const { command, args, env } = this.#config;
    const child = spawn(command, args, {
      env: { ...getDefaultEnvironment(), ...env },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    // An error of its input is that it ended, of which the exit tells.
    child.stdin.on("error", () => {});
    await once(child, "spawn");
    this.#child = child;
    child.on("error", (error) => this.onerror?.(error));
    this.#exited = once(child, "exit");
    child.stdout.on("data", (bytes: Buffer) => this.#take(bytes));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-mcpLimits.stderrCharacters);
    });
    // What it left behind may hold its streams open; they close when it has ended too.
    child.once("exit", () => void this.close());
    child.once("close", () => this.onclose?.());
  }

  async send(message: JSONRPCMessage): Promise<void> {
    const child = this.#child;
    if (child === undefined || this.#closing !== undefined) throw new Error("The process of the MCP server has ended");
    if (!child.stdin.write(serializeMessage(message))) await Promise.race([once(child.stdin, "drain"), this.#exited]);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#end());
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    const { pid } = child;
    child.stdin.end();
    const isOver = async (): Promise<boolean> =>
      await Promise.race([this.#exited.then(() => true), sleep(mcpLimits.graceMilliseconds, false, { ref: false })]);
    if (!(await isOver())) {
      killGroup(pid, "SIGTERM");
      await isOver();
    }
    // Also what the server started and left behind.
    killGroup(pid, "SIGKILL");
    await this.#exited;
  }

  #take(bytes: Buffer): void {
    try {
      this.#buffer.append(bytes);
    } catch (error) {
      this.onerror?.(error as Error);
      return void this.close();
    }
    for (;;) {
      try {
        const message = this.#buffer.readMessage();
        if (message === null) return;
        this.onmessage?.(message);
      } catch {
        // A line that is no message has been taken out of the buffer.
        this.#linesIgnored++;
      }
    }
  }
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left.
  }
}
