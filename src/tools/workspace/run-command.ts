/**
 * `run_command`: a shell command in a sandbox that holds the agent's workspace and its skills.
 *
 * R1. What the command changed in the workspace and its result are one batch, so a call that is found to have ended is
 *     answered again from its row, and one that has not is made again: the batch of the earlier attempt cannot commit any more.
 * R2. The command sees the workspace as it was when it began. What another call changed meanwhile stays; where both changed
 *     the same file, nothing of this one is kept.
 * R3. Plain files are kept. Links, pipes and devices are not, nor folders without a file, nor rights.
 */
import type { Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import { getAgentLink } from "../../memory/agent-link.ts";
import { type CommandResult, runCommand } from "../../sandbox/run-command.ts";
import type { Store } from "../../storage/store.ts";
import { transact } from "../../storage/transaction.ts";
import { callBounds, describeExit, failed, type ToolSandboxes } from "../source/tool-sandboxes.ts";
import { objectSchema, optional, optionalInteger, type Parameter, required, ToolError } from "../state-tool.ts";
import type { OutsideTool, OutsideToolContext, Reconciled, ToolInput, ToolResult } from "../tool.ts";
import { type Changes, FileTreeError, type Listing } from "./file-tree.ts";
import { collectFiles, type Collected, placeFiles } from "./sandbox-files.ts";
import { workspaceOf } from "./workspace.ts";

export const runCommandName = "run_command";
export const runCommandDescription: string = [
  "Runs a shell command (sh) in your workspace, in a sandbox without a network, and gives its output and exit code.",
  "The files of the workspace are in the current folder and those that the command changes are kept; your skills are in .skills.",
  "Every call starts anew: variables, programs in the background and /tmp are gone afterwards.",
].join(" ");

const secondsMax = 150;
const secondsDefault = 60;
const outputBytesMax = 4 * 2 ** 20;
/** However they are written in JSON they fit a row, with the begin and the end of a longer output. */
const beginCharacters = 4_000;
const endCharacters = 10_000;
/** Rows of calls are kept for a day: a crash is recovered from sooner, and of a later one the outcome is unknown. */
const callMilliseconds = 24 * 3_600_000;
const callsPruned = 20;

export const runCommandParameters: { readonly [name: string]: Parameter } = {
  command: required({ type: "string", description: "The command, as a shell takes it." }),
  timeout_seconds: optional({
    type: "integer",
    description: `After how many seconds it is ended, 1 to ${secondsMax}. Defaults to ${secondsDefault}.`,
    default: secondsDefault,
  }),
};

export interface RunCommandOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly sandboxes: ToolSandboxes;
  /** The files of the agent's skills, as paths from the workspace's root. */
  readonly skillFiles: (project: string, agentId: string) => Promise<ReadonlyMap<string, Uint8Array>>;
}

/** A call that was begun; with its result, once it has ended. */
interface CallRow {
  readonly attempt: string;
  readonly result?: ToolResult;
}

/** Calls in the order in which they were begun. */
interface BegunRow {
  /** Unix milliseconds. */
  readonly at: number;
  readonly effectId: string;
}

/** Another attempt has taken the call over. */
class SupersededError extends Error {
  override readonly name = "SupersededError";
}

export function runCommandTool(options: RunCommandOptions): OutsideTool {
  return {
    name: runCommandName,
    description: runCommandDescription,
    parameters: objectSchema(runCommandParameters),
    effect: "once",
    execute: (input, context) => execute(options, input, context),
    reconcile: (_input, context) => reconcile(options, context),
  };
}

async function execute(options: RunCommandOptions, input: ToolInput, context: OutsideToolContext): Promise<ToolResult> {
  const { store, environment, sandboxes } = options;
  const command = input["command"];
  if (typeof command !== "string" || command.trim() === "" || command.includes("\0")) return failed("run_command takes a command, a text");
  let seconds: number;
  try {
    seconds = optionalInteger(input, "timeout_seconds", { least: 1, most: secondsMax }) ?? secondsDefault;
  } catch (error) {
    if (error instanceof ToolError) return failed(error.message);
    throw error;
  }
  const attempt = await begin(options, context);
  return await sandboxes.use({}, context.signal, async (sandbox) => {
    const tree = workspaceOf(context.project, context.agentId);
    const before = await tree.read(store);
    const contents = new Map<string, Buffer>();
    for (const [path, file] of before) contents.set(path, await tree.readContent(store, file));
    await placeFiles(sandbox, new Map([...contents, ...(await options.skillFiles(context.project, context.agentId))]));
    const given = { timeoutMilliseconds: seconds * 1_000, outputBytesMax };
    const ran = await runCommand(
      sandbox,
      { program: "/bin/sh", arguments: ["-c", command], environment: variablesOf(context), ...given },
      context.signal,
    );
    context.signal.throwIfAborted();
    const said = describe(ran, given);
    let collected: Collected;
    try {
      collected = await collectFiles(sandbox, contents);
      context.signal.throwIfAborted();
      const result = resultOf(ran, [said, ...collected.notes]);
      return await finish(options, context, { attempt, before, collected, result });
    } catch (error) {
      if (!(error instanceof FileTreeError)) throw error;
      environment.probe("tools.runCommand.refused", "sometimes");
      return failed(`${said}\nThe workspace is as it was before the command: ${error.message}`);
    }
  });
}

/** Says durably that this attempt is the one whose batch may commit. */
async function begin({ store, environment }: RunCommandOptions, context: OutsideToolContext): Promise<string> {
  const attempt = environment.random.uuid();
  const now = environment.clock.now();
  await transact(store, environment, async (transaction) => {
    for (const { value } of await transaction.list<BegunRow>(begunPrefix(context), { limit: callsPruned })) {
      if (value.at >= now - callMilliseconds) break;
      transaction.delete([...begunPrefix(context), value.at, value.effectId]);
      transaction.delete(callKey({ ...context, effectId: value.effectId }));
    }
    const { effectId } = context;
    transaction.set([...begunPrefix(context), now, effectId], { at: now, effectId } satisfies BegunRow);
    transaction.set(callKey(context), { attempt } satisfies CallRow);
  });
  return attempt;
}

async function finish(
  { store, environment }: RunCommandOptions,
  context: OutsideToolContext,
  call: { readonly attempt: string; readonly before: Listing; readonly collected: Collected; readonly result: ToolResult },
): Promise<ToolResult> {
  const { attempt, before, collected, result } = call;
  const tree = workspaceOf(context.project, context.agentId);
  const written = await tree.writeContents(store, environment, collected.changed);
  const changes: Changes = new Map([...written, ...collected.gone.map((path) => [path, undefined] as const)]);
  try {
    await transact(store, environment, async (transaction) => {
      const row = await transaction.get<CallRow>(callKey(context));
      if (row?.attempt !== attempt) throw new SupersededError("The call was taken over by another attempt");
      if ((await getAgentLink(transaction, context.project, context.agentId)) === undefined)
        throw new FileTreeError("the agent was deleted meanwhile");
      if (changes.size > 0) {
        const now = await tree.get(transaction);
        const both = [...changes.keys()].find((path) => now.get(path)?.content !== before.get(path)?.content);
        if (both !== undefined) throw new FileTreeError(`another call changed ${both} meanwhile; run the command again`);
        tree.change(transaction, now, changes);
      }
      transaction.set(callKey(context), { attempt, result } satisfies CallRow);
    });
  } catch (error) {
    if (error instanceof FileTreeError || error instanceof SupersededError) await tree.discard(store, environment, written.values());
    throw error;
  }
  return result;
}

async function reconcile({ store, environment, sandboxes }: RunCommandOptions, context: OutsideToolContext): Promise<Reconciled> {
  return await transact(store, environment, async (transaction): Promise<Reconciled> => {
    const row = await transaction.get<CallRow>(callKey(context));
    if (row === undefined) return { outcome: "unknown" };
    if (row.result !== undefined) return { outcome: "succeeded", result: row.result };
    transaction.set(callKey(context), { ...row, attempt: environment.random.uuid() } satisfies CallRow);
    // Without isolation it may have done anything to the host.
    return { outcome: sandboxes.unisolatedAllowed ? "unknown" : "didNotHappen" };
  });
}

/** No secrets: a model has written the command, and could print them in any way. */
function variablesOf({ effectId, agentId }: OutsideToolContext): Readonly<Record<string, string>> {
  return { PYTHONUTF8: "1", KELPIE_EFFECT_ID: effectId, KELPIE_AGENT_ID: agentId };
}

function callKey({ project, agentId, effectId }: OutsideToolContext): Tuple {
  return [project, "workspace", agentId, "call", effectId];
}

function begunPrefix({ project, agentId }: OutsideToolContext): Tuple {
  return [project, "workspace", agentId, "begun"];
}

function resultOf({ exit }: CommandResult, parts: readonly string[]): ToolResult {
  const isDone = exit.reason === "exited" && exit.code === 0;
  return { status: isDone ? "success" : "error", text: parts.join("\n") };
}

function describe(
  { exit, stdout, stderr }: CommandResult,
  given: { readonly timeoutMilliseconds: number; readonly outputBytesMax: number },
): string {
  const text = Buffer.concat([stdout, stderr]).toString("utf8").toWellFormed().replace(/\n$/, "");
  const leftOut = text.length - beginCharacters - endCharacters;
  const output =
    leftOut <= 0
      ? text
      : `${text.slice(0, beginCharacters)}\n[${leftOut} characters are left out]\n${text.slice(-endCharacters)}`.toWellFormed();
  const ending = exit.reason === "exited" && exit.code === 0 ? "" : `The command ${describeExit(exit, callBounds, given)}`;
  return [output, ending].filter((part) => part !== "").join("\n");
}
