/**
 * Tools of their owner's source code, and those that run a model's: each call runs in a sandbox of its own, which is gone afterwards.
 *
 * Code that reaches no network and no memory changes nothing but its sandbox, so a call may be made again after a crash. Any
 * other is made once, unless its owner says otherwise: `effect` in the tool's `metadata_`.
 */
import type { Environment } from "../../environment/environment.ts";
import { type CommandResult, runCommand } from "../../sandbox/run-command.ts";
import { type Mount, type Sandbox, SandboxFileError } from "../../sandbox/sandbox.ts";
import type { Store } from "../../storage/store.ts";
import { maskOf } from "../mask-secrets.ts";
import type { OutsideTool, OutsideToolContext, ToolResult } from "../tool.ts";
import type { ToolRecord } from "../tool-record.ts";
import { readAgentState, valuesOf, writeBlocks } from "./agent-state.ts";
import type { Packages } from "./packages.ts";
import { type Language, PackageError, requirementsOf } from "./requirements.ts";
import { outputOf, parametersOf, toolOf, variablesOf } from "./code-tool.ts";
import { runCodeWithTools } from "./run-code-with-tools.ts";
import { codeRunner, type Outcome, pythonRunner, type Runner, type RunnerCall, typescriptRunner } from "./runners.ts";
import { callBounds, describeExit, failed, isRefusal, type ToolSandboxes } from "./tool-sandboxes.ts";

export interface SourceToolsOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly sandboxes: ToolSandboxes;
  readonly packages: Packages;
}

const given = { timeoutMilliseconds: 170_000, outputBytesMax: 1024 * 1024 };
const outcomeBytesMax = 8 * 1024 * 1024;
/** Of what a failed call wrote, the model sees the end. */
const outputCharactersShown = 2_000;

export class SourceTools {
  readonly #options: SourceToolsOptions;

  constructor(options: SourceToolsOptions) {
    this.#options = options;
  }

  /** The tool behind a record with source code, or behind a built-in tool that runs code. */
  tool(record: ToolRecord): OutsideTool | undefined {
    if (record.tool_type === "letta_builtin") return this.#builtIn(record);
    const { source_code: source, source_type: language } = record;
    if (source === null || source === "" || (language !== "python" && language !== "typescript")) return undefined;
    // Whether it is a parameter is seen when it runs; that it is named at all is enough to be careful.
    const asksForState = language === "python" && /\bagent_state\b/.test(source);
    const isHarmless = hostsOf(record).length === 0 && !asksForState && !this.#options.sandboxes.unisolatedAllowed;
    return toolOf(record, isHarmless ? "readOnly" : "once", async (input, context) => {
      const names = Object.keys((parametersOf(record) as { readonly properties?: object }).properties ?? {});
      if (language === "typescript" && !/^[A-Za-z_$][\w$]*$/.test(record.name)) return failed(`${record.name} is no name of a function`);
      const runner = language === "python" ? pythonRunner(source) : typescriptRunner(source, record.name, names);
      const agentState = asksForState ? await readAgentState(this.#options, context) : undefined;
      const call = { name: record.name, arguments: input, ...(agentState === undefined ? {} : { agentState }) };
      return await this.#run(record, language, runner, call, context);
    });
  }

  #builtIn(record: ToolRecord): OutsideTool | undefined {
    if (record.name === "run_code") return this.#runCode(record);
    return record.name === "run_code_with_tools" ? runCodeWithTools(record, this.#options.sandboxes) : undefined;
  }

  #runCode(record: ToolRecord): OutsideTool {
    return toolOf(record, this.#options.sandboxes.unisolatedAllowed ? "once" : "readOnly", async ({ code, language }, context) => {
      if (typeof code !== "string" || typeof language !== "string") return failed("run_code takes code and language, both texts");
      const runner = codeRunner(language, code);
      if (runner === undefined) return failed(`run_code runs python, js and ts, not ${language.slice(0, 50)}`);
      return await this.#options.sandboxes.use(networkOf(record), context.signal, async (sandbox) => {
        // No secrets, as in Letta: a model has written this.
        const ran = await run(sandbox, runner, record, { ...context, secrets: {} });
        const text = Buffer.concat([ran.stdout, ran.stderr]).toString("utf8");
        if (ran.exit.reason === "exited" && ran.exit.code === 0) return { status: "success", text, ...outputOf(ran) };
        return { ...failed(`The code ${describeExit(ran.exit, callBounds, given)}\n${text}`.trim()), ...outputOf(ran) };
      });
    });
  }

  async #run(record: ToolRecord, language: Language, runner: Runner, call: RunnerCall, context: OutsideToolContext): Promise<ToolResult> {
    const { sandboxes, packages } = this.#options;
    let mounts: readonly Mount[] | undefined;
    try {
      const requirements = requirementsOf(record, language);
      if (requirements.length > 0) mounts = [await packages.mount(language, requirements, context.signal)];
    } catch (error) {
      if (error instanceof PackageError || isRefusal(error)) return failed(`${call.name} did not run: ${error.message}`);
      throw error;
    }
    const needs = { ...networkOf(record), ...(mounts === undefined ? {} : { mounts }) };
    return await sandboxes.use(needs, context.signal, async (sandbox) => {
      await sandbox.files.write("call.json", JSON.stringify(call));
      const ran = await run(sandbox, runner, record, context);
      const result = await this.#resultOf(sandbox, ran, call, context);
      return { ...result, ...outputOf(ran) };
    });
  }

  async #resultOf(
    sandbox: Sandbox,
    { exit, stdout, stderr }: CommandResult,
    call: RunnerCall,
    context: OutsideToolContext,
  ): Promise<ToolResult> {
    const said = Buffer.concat([stdout, stderr]).toString("utf8").slice(-outputCharactersShown).trim();
    const ending = said === "" ? "" : `\nIt wrote: ${said}`;
    if (exit.reason !== "exited") return failed(`${call.name} ${describeExit(exit, callBounds, given)}${ending}`);
    const outcome = await readOutcome(sandbox);
    if (outcome === "too-large")
      return failed(`The result of ${call.name} has more than ${outcomeBytesMax} bytes: return less, or ask for less at a time`);
    if (outcome === undefined) return failed(`${call.name} ended without a result (exit code ${exit.code})${ending}`);
    if (outcome.error !== undefined) return failed(`${outcome.error}${ending}`);
    const problem = await this.#writeBack(call, outcome, context);
    if (problem !== undefined) return failed(`${call.name} ran, but what it changed in memory was not kept: ${problem}`);
    return { status: "success", text: typeof outcome.value === "string" ? outcome.value : JSON.stringify(outcome.value ?? null) };
  }

  async #writeBack({ agentState }: RunnerCall, { blocks }: Outcome, context: OutsideToolContext): Promise<string | undefined> {
    if (agentState === undefined || blocks === undefined) return undefined;
    if (typeof blocks !== "object" || blocks === null || !Object.values(blocks).every((value) => typeof value === "string"))
      return "its blocks are no texts";
    const mask = maskOf(context.secrets);
    const after = Object.fromEntries(Object.entries(blocks).map(([label, value]) => [label, mask.apply(value)]));
    return await writeBlocks(this.#options, context, { before: valuesOf(agentState), after });
  }
}

/** The hosts that a tool's owner lets its code reach. */
export function hostsOf({ metadata_ }: ToolRecord): readonly string[] {
  const hosts = metadata_["network_hosts"];
  return Array.isArray(hosts) ? hosts.filter((host) => typeof host === "string") : [];
}

function networkOf(record: ToolRecord): { readonly allow?: readonly { readonly host: string }[] } {
  const hosts = hostsOf(record);
  return hosts.length === 0 ? {} : { allow: hosts.map((host) => ({ host })) };
}

/** Gives what was written without the secrets of the agent: of one that is cut later not enough may be left to find it. @throws What `context.signal` was aborted with. */
async function run(sandbox: Sandbox, runner: Runner, record: ToolRecord, context: OutsideToolContext): Promise<CommandResult> {
  for (const [path, content] of Object.entries(runner.files)) await sandbox.files.write(path, content);
  // Where packages are mounted for Python; Node looks in the folders above.
  const environment = { PYTHONPATH: "/opt/kelpie/packages", PYTHONUTF8: "1", ...variablesOf(record, context) };
  const command = { program: runner.program, arguments: runner.arguments, environment, ...given };
  const ran = await runCommand(sandbox, command, context.signal);
  context.signal.throwIfAborted();
  const mask = maskOf(context.secrets);
  const masked = (bytes: Buffer): Buffer => Buffer.from(mask.apply(bytes.toString("utf8")));
  return { ...ran, stdout: masked(ran.stdout), stderr: masked(ran.stderr) };
}

async function readOutcome(sandbox: Sandbox): Promise<Outcome | "too-large" | undefined> {
  try {
    const outcome: unknown = JSON.parse(Buffer.from(await sandbox.files.read("outcome.json", outcomeBytesMax)).toString("utf8"));
    return typeof outcome === "object" && outcome !== null ? outcome : undefined;
  } catch (error) {
    if (error instanceof SandboxFileError && error.code === "too-large") return "too-large";
    // Whatever the code has made of it.
    if (error instanceof SyntaxError || error instanceof SandboxFileError) return undefined;
    throw error;
  }
}
