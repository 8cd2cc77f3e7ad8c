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
import { deserializeMessage, type JSONRPCMessage, serializeMessage, type Transport } from "@modelcontextprotocol/client";
import { getDefaultEnvironment } from "@modelcontextprotocol/client/stdio";
import { type McpServerConfig, mcpLimits } from "./mcp.ts";

const lineEnd = 0x0a;

type StdioConfig = Extract<McpServerConfig, { readonly mcp_server_type: "stdio" }>;

export class StdioTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  readonly #config: StdioConfig;
  /** The line that has begun, in the pieces that came: joined once, as the SDK's own buffer costs the square of its length. */
  #line: Buffer[] = [];
  #lineBytes = 0;
  #child: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  /** What all wait for that write more than the server reads. */
  #drained: Promise<unknown> | undefined;
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
    if (child.stdin.write(serializeMessage(message))) return;
    this.#drained ??= once(child.stdin, "drain").finally(() => (this.#drained = undefined));
    await Promise.race([this.#drained, this.#exited]);
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
    let from = 0;
    for (let end = bytes.indexOf(lineEnd); end !== -1; end = bytes.indexOf(lineEnd, from)) {
      if (!this.#gather(bytes.subarray(from, end))) return;
      from = end + 1;
      const line = Buffer.concat(this.#line).toString("utf8").trimEnd();
      this.#line = [];
      this.#lineBytes = 0;
      if (line !== "") this.#deliver(line);
    }
    this.#gather(bytes.subarray(from));
  }

  /** False: the line is too long, and the server is ended. */
  #gather(piece: Buffer): boolean {
    this.#lineBytes += piece.length;
    if (this.#lineBytes <= mcpLimits.messageBytes) {
      this.#line.push(piece);
      return true;
    }
    this.#line = [];
    this.#child!.stdout.destroy();
    this.onerror?.(new Error(`The server wrote a line of more than ${mcpLimits.messageBytes} bytes`));
    void this.close();
    return false;
  }

  #deliver(line: string): void {
    let message: JSONRPCMessage;
    try {
      message = deserializeMessage(line);
    } catch {
      this.#linesIgnored++;
      return;
    }
    this.onmessage?.(message);
  }
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left.
  }
}
