/**
 * `run_code_with_tools`: code in a sandbox without a network that calls the agent's other tools. What it prints is the result.
 *
 * A call is a line of the code's standard output that begins with a mark; its answer is a line of standard input. The code
 * could write such lines itself: all that it gets by that are calls that it may make anyway.
 */
import type { Json } from "../../base/json.ts";
import type { Sandbox } from "../../sandbox/sandbox.ts";
import type { OutsideTool, OutsideToolContext, ToolInput, ToolResult } from "../tool.ts";
import type { ToolRecord } from "../tool-record.ts";
import { CallLines, CallTooLongError } from "./call-lines.ts";
import { outputOf, toolOf, variablesOf } from "./code-tool.ts";
import { codeWithToolsRunner } from "./code-with-tools-runner.ts";
import { callBounds, describeExit, failed, type ToolSandboxes } from "./tool-sandboxes.ts";

/** Calls of one piece of code that are under way at one time. */
const atOnceMax = 8;
/** Beside what is printed there are the arguments of calls. */
const given = { timeoutMilliseconds: 170_000, outputBytesMax: 16 * 2 ** 20 };

export function runCodeWithTools(record: ToolRecord, sandboxes: ToolSandboxes): OutsideTool {
  const tool = toolOf(record, "once", async ({ code, language = "python" }, context) => {
    if (typeof code !== "string" || typeof language !== "string") return failed(`${record.name} takes code and language, both texts`);
    const runner = codeWithToolsRunner(language, code);
    if (runner === undefined) return failed(`${record.name} runs python, js and ts, not ${language.slice(0, 50)}`);
    const { callTool } = context;
    if (callTool === undefined) return failed(`${record.name} works in the conversation of an agent only: there its tools are`);
    return await sandboxes.use({}, context.signal, async (sandbox) => {
      for (const [path, content] of Object.entries(runner.files)) await sandbox.files.write(path, content);
      // No secrets: a model has written this, and tools reach further than its sandbox.
      const environment = { PYTHONUTF8: "1", ...variablesOf(record, { ...context, secrets: {} }) };
      const { program } = runner;
      return await talk(sandbox, { program, arguments: runner.arguments, environment, ...given }, { ...context, callTool });
    });
  });
  // Whatever its owner says: its calls could not be told apart from those of before.
  return { ...tool, effect: "once" };
}

type Context = OutsideToolContext & Required<Pick<OutsideToolContext, "callTool">>;

/** Runs it to its end and answers its calls. @throws What `context.signal` was aborted with. */
async function talk(sandbox: Sandbox, command: Parameters<Sandbox["start"]>[0], { callTool, signal }: Context): Promise<ToolResult> {
  const process = await sandbox.start(command);
  const ended = new AbortController();
  const whileItRuns = AbortSignal.any([signal, ended.signal]);
  const kill = (): void => process.kill();
  if (signal.aborted) kill();
  signal.addEventListener("abort", kill);
  const underWay = new Set<Promise<void>>();
  const lines = new CallLines();
  const errors: Uint8Array[] = [];
  let problem: Error | undefined;
  const answerTo = async (line: string): Promise<void> => {
    try {
      await process.write(Buffer.from(await answer(line, callTool, whileItRuns)));
    } catch (error) {
      // The run is over, or the code is: nobody waits for an answer.
      problem ??= error instanceof Error ? error : new Error(String(error));
      kill();
    }
  };
  try {
    for await (const { stream, bytes } of process.output) {
      if (stream === "stderr") errors.push(bytes);
      else
        for (const line of lines.accept(bytes)) {
          const answering = answerTo(line).finally(() => underWay.delete(answering));
          underWay.add(answering);
          if (underWay.size >= atOnceMax) await Promise.race(underWay);
        }
    }
    const exit = await process.exit;
    signal.throwIfAborted();
    if (problem !== undefined) throw problem;
    const output = outputOf({ stdout: lines.rest(), stderr: Buffer.concat(errors) });
    const text = Buffer.concat([lines.rest(), ...errors])
      .toString("utf8")
      .toWellFormed();
    if (exit.reason === "exited" && exit.code === 0) return { status: "success", text, ...output };
    return { ...failed(`The code ${describeExit(exit, callBounds, given)}\n${text}`.trim()), ...output };
  } catch (error) {
    if (error instanceof CallTooLongError) return failed(`The code was ended: ${error.message}`);
    throw error;
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
    // What it has not waited for is given up, and known to be before anything else of the run happens.
    ended.abort(new Error("The code has ended"));
    await Promise.allSettled(underWay);
  }
}

/** The line that answers one. */
async function answer(line: string, callTool: Context["callTool"], signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  let call: { readonly id?: Json; readonly name?: Json; readonly arguments?: Json } | null;
  try {
    call = JSON.parse(line) as typeof call;
  } catch {
    call = null;
  }
  const { id = null, name, arguments: input } = call ?? {};
  const isCall = typeof name === "string" && typeof input === "object" && input !== null && !Array.isArray(input);
  const result = isCall
    ? await callTool(name, input as ToolInput, signal)
    : failed("It was not called: a call has a name, and arguments by their names");
  return `${JSON.stringify({ id, status: result.status, text: result.text })}\n`;
}
