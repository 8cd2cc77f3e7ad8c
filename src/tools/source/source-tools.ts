/**
 * Tools of their owner's source code, and `run_code`: each call runs in a sandbox of its own, which is gone afterwards.
 *
 * Code that reaches no network changes nothing but its sandbox, so a call may be made again after a crash. A tool whose
 * owner names hosts (`network_hosts` in its `metadata_`) reaches those, and its calls are made once.
 */
import type { Json } from "../../base/json.ts";
import type { Environment } from "../../environment/environment.ts";
import { runCommand } from "../../sandbox/run-command.ts";
import {
  type Bounds,
  type Exit,
  IsolationError,
  type Sandbox,
  type SandboxBackend,
  SandboxClosedError,
  SandboxFileError,
  SandboxInputError,
  SandboxLimitError,
  type SandboxSpec,
  SandboxUnavailableError,
} from "../../sandbox/sandbox.ts";
import { SandboxPool } from "../../sandbox/sandbox-pool.ts";
import type { OutsideTool, OutsideToolContext, ToolInput, ToolResult } from "../tool.ts";
import type { ToolRecord } from "../tool-record.ts";
import { nodeTarget, pythonRunner, type Runner, typescriptRunner } from "./runners.ts";

export interface SourceToolsOptions {
  readonly environment: Environment;
  /** Opens what runs code; asked for once, at the first call. @throws {SandboxUnavailableError} */
  readonly openBackend: () => Promise<SandboxBackend>;
  /** The program of Node, for tools in TypeScript. */
  readonly nodeProgram: string;
}

const timeoutMilliseconds = 170_000;
const outputBytesMax = 1024 * 1024;
const outcomeBytesMax = 8 * 1024 * 1024;
/** Of what a failed call wrote, the model sees the end. */
const outputCharactersShown = 2_000;
/** Sandboxes that wait to be used. */
const warm = 2;
const bounds: Partial<Bounds> = { memoryBytes: 1024 * 2 ** 20, processes: 128, processors: 1, diskBytes: 256 * 2 ** 20 };

export class SourceTools implements AsyncDisposable {
  readonly #options: SourceToolsOptions;
  readonly #spec: SandboxSpec;
  #opened: Promise<{ readonly backend: SandboxBackend; readonly pool: SandboxPool }> | undefined;

  constructor(options: SourceToolsOptions) {
    this.#options = options;
    this.#spec = { isolation: "process", bounds, mounts: [{ source: options.nodeProgram, target: nodeTarget }] };
  }

  /** The tool behind a record with source code, or behind `run_code`. */
  tool(record: ToolRecord): OutsideTool | undefined {
    if (record.tool_type === "letta_builtin") return record.name === "run_code" ? this.#runCode(record) : undefined;
    const { source_code: source, source_type: language } = record;
    if (source === null || source === "" || (language !== "python" && language !== "typescript")) return undefined;
    const parameters = parametersOf(record);
    const hosts = hostsOf(record);
    return this.#toolOf(record, hosts, async (input, context) => {
      const missing = requirementsOf(record);
      if (missing.length > 0)
        return failed(`${record.name} needs packages that this version does not install: ${missing.join(", ")}. Use the standard library.`);
      const names = Object.keys((parameters as { readonly properties?: object }).properties ?? {});
      if (language === "typescript" && !/^[A-Za-z_]\w*$/.test(record.name)) return failed(`${record.name} is no name of a function`);
      const runner = language === "python" ? pythonRunner(source) : typescriptRunner(source, record.name, names);
      return await this.#run(runner, { name: record.name, arguments: input }, hosts, context);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined);
    await opened?.pool.close();
    await opened?.backend.close();
  }

  #runCode(record: ToolRecord): OutsideTool {
    return this.#toolOf(record, [], async (input, context) => {
      const { code, language } = input;
      if (typeof code !== "string" || typeof language !== "string") return failed("run_code takes code and language, both texts");
      const runner = codeRunner(language, code);
      if (runner === undefined) return failed(`run_code runs python, js and ts, not ${language.slice(0, 50)}`);
      return await this.#using([], context, async (sandbox) => {
        await writeAll(sandbox, runner.files);
        const { exit, stdout, stderr } = await runCommand(sandbox, commandOf(runner, context), context.signal);
        const text = Buffer.concat([stdout, stderr]).toString("utf8");
        return exit.reason === "exited" && exit.code === 0 ? { status: "success", text } : failed(`${describeExit(exit)}\n${text}`.trim());
      });
    });
  }

  #toolOf(record: ToolRecord, hosts: readonly string[], execute: OutsideTool["execute"]): OutsideTool {
    return {
      name: record.name,
      description: record.description ?? "",
      parameters: parametersOf(record),
      effect: hosts.length === 0 ? "readOnly" : "once",
      execute,
    };
  }

  async #run(
    runner: Runner,
    call: { readonly name: string; readonly arguments: ToolInput },
    hosts: readonly string[],
    context: OutsideToolContext,
  ): Promise<ToolResult> {
    return await this.#using(hosts, context, async (sandbox) => {
      await writeAll(sandbox, { ...runner.files, "call.json": JSON.stringify(call) });
      const { exit, stdout, stderr } = await runCommand(sandbox, commandOf(runner, context), context.signal);
      context.signal.throwIfAborted();
      const said = Buffer.concat([stdout, stderr]).toString("utf8").slice(-outputCharactersShown).trim();
      const ending = said === "" ? "" : `\nIt wrote: ${said}`;
      if (exit.reason !== "exited") return failed(`${call.name} ${describeExit(exit)}${ending}`);
      const outcome = await readOutcome(sandbox);
      if (outcome === undefined) return failed(`${call.name} ended without a result (exit code ${exit.code})${ending}`);
      if (outcome.error !== undefined) return failed(`${outcome.error}${ending}`);
      return { status: "success", text: typeof outcome.value === "string" ? outcome.value : JSON.stringify(outcome.value ?? null) };
    });
  }

  /** A sandbox for one call. What keeps it from running is a result that says so. */
  async #using(
    hosts: readonly string[],
    context: OutsideToolContext,
    work: (sandbox: Sandbox) => Promise<ToolResult>,
  ): Promise<ToolResult> {
    let sandbox: Sandbox | undefined;
    try {
      const { backend, pool } = await (this.#opened ??= this.#open());
      sandbox =
        hosts.length === 0
          ? await pool.take()
          : await backend.create({ ...this.#spec, network: { allow: hosts.map((host) => ({ host })) } });
      context.signal.throwIfAborted();
      return await work(sandbox);
    } catch (error) {
      if (expectedErrors.some((each) => error instanceof each)) return failed(`The code did not run: ${(error as Error).message}`);
      throw error;
    } finally {
      await sandbox?.close();
    }
  }

  async #open(): Promise<{ readonly backend: SandboxBackend; readonly pool: SandboxPool }> {
    try {
      const backend = await this.#options.openBackend();
      return { backend, pool: new SandboxPool({ backend, spec: this.#spec, size: warm, log: this.#options.environment.log }) };
    } catch (error) {
      // What is missing may be installed meanwhile.
      this.#opened = undefined;
      throw error;
    }
  }
}

const expectedErrors = [
  IsolationError,
  SandboxUnavailableError,
  SandboxInputError,
  SandboxLimitError,
  SandboxClosedError,
  SandboxFileError,
];

function codeRunner(language: string, code: string): Runner | undefined {
  if (language === "python") return { program: "python3", arguments: ["-B", "code.py"], files: { "code.py": code } };
  const name = { js: "code.mjs", javascript: "code.mjs", ts: "code.mts", typescript: "code.mts" }[language];
  if (name === undefined) return undefined;
  return { program: nodeTarget, arguments: ["--disable-warning=ExperimentalWarning", name], files: { [name]: code } };
}

function commandOf(
  { program, arguments: given }: Runner,
  { effectId, agentId, secrets }: OutsideToolContext,
): Parameters<typeof runCommand>[1] {
  const environment = { ...secrets, KELPIE_EFFECT_ID: effectId, KELPIE_AGENT_ID: agentId };
  return { program, arguments: given, environment, timeoutMilliseconds, outputBytesMax };
}

async function writeAll(sandbox: Sandbox, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) await sandbox.files.write(path, content);
}

async function readOutcome(sandbox: Sandbox): Promise<{ readonly value?: Json; readonly error?: string } | undefined> {
  try {
    const outcome: unknown = JSON.parse(Buffer.from(await sandbox.files.read("outcome.json", outcomeBytesMax)).toString("utf8"));
    return typeof outcome === "object" && outcome !== null ? outcome : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof SandboxFileError && error.code === "not-found")) return undefined;
    throw error;
  }
}

function describeExit(exit: Exit): string {
  switch (exit.reason) {
    case "exited":
      return `ended with the exit code ${exit.code}`;
    case "timeout":
      return `ran for ${timeoutMilliseconds / 1_000} s and was ended`;
    case "output-limit":
      return `wrote more than ${outputBytesMax} bytes and was ended`;
    case "memory-limit":
      return `used more than ${bounds.memoryBytes! / 2 ** 20} MB of memory and was ended`;
    case "disk-limit":
      return `filled its ${bounds.diskBytes! / 2 ** 20} MB of disk and was ended`;
    case "killed":
      return "was ended";
  }
}

function parametersOf(record: ToolRecord): Json {
  return (record.json_schema["parameters"] ?? { type: "object", properties: {} }) as Json;
}

function hostsOf({ metadata_ }: ToolRecord): readonly string[] {
  const hosts = metadata_["network_hosts"];
  return Array.isArray(hosts) ? hosts.filter((host) => typeof host === "string") : [];
}

function requirementsOf({ pip_requirements, npm_requirements }: ToolRecord): string[] {
  return [pip_requirements, npm_requirements].flatMap((list) =>
    Array.isArray(list) ? list.map((each) => String((each as { readonly name?: unknown } | null)?.name ?? each)) : [],
  );
}

function failed(text: string): ToolResult {
  return { status: "error", text };
}
