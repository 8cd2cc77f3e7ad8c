/** `kelpie runs`: list, show, cancel and follow them. */
import { suggestion } from "../base/nearest.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, CommandError, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import { followRun } from "./follow-run.ts";
import type { Program } from "./program.ts";
import { clientFor, findAgent, onePositional } from "./remote.ts";
import { RunView } from "./run-view.ts";
import { table } from "./text.ts";

interface RunSummary {
  readonly id: string;
  readonly agent_id: string;
  readonly conversation_id?: string | null;
  readonly status: string;
  readonly stop_reason?: string | null;
  readonly created_at?: string;
}

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<number>>> = {
  list,
  show,
  cancel,
  follow,
};

export const runsCommand: Command = {
  name: "runs",
  summary: "List, show, cancel and follow runs",
  usage: "list | show <run> | cancel <run> | follow <run>",
  description: "the runs of a running Kelpie: each is one request to an agent, worked to its end",
  options: [
    { name: "agent", value: "id|name", meaning: "list: only the runs of this agent" },
    { name: "active", meaning: "list: only those that are not done" },
    { name: "after", value: "seq", meaning: "follow: only events after this number; 0, all of them" },
    serverOption,
    jsonOption,
  ],
  examples: [
    "kelpie runs list --active",
    "kelpie runs follow run-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
    "kelpie runs cancel run-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
  ],
  async run(input, program) {
    const verb = input.positionals[0] ?? "list";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(
        `kelpie runs cannot ${JSON.stringify(verb)}: it can list, show, cancel and follow.${suggestion(verb, Object.keys(verbs))}`,
      );
    return await action(clientFor(input, program), input, program);
  },
};

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<number> {
  const agent = input.values.get("agent");
  const agentId = agent === undefined ? undefined : (await findAgent(client, agent)).id;
  const runs = await client.request<RunSummary[]>("GET", "/v1/runs", {
    query: { limit: 50, agent_id: agentId, active: input.flags.has("active") ? "true" : undefined },
  });
  if (input.flags.has("json")) terminal.line(JSON.stringify(runs, null, 2));
  else if (runs.length === 0) terminal.line("No runs.");
  else {
    const rows = runs.map((run) => [
      run.id,
      run.status,
      run.stop_reason ?? "",
      run.agent_id,
      (run.created_at ?? "").slice(0, 19).replace("T", " "),
    ]);
    for (const line of table([["ID", "STATUS", "ENDED BY", "AGENT", "CREATED"], ...rows])) terminal.line(line);
  }
  return exitCodes.ok;
}

async function show(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<number> {
  const run = await client.request<RunSummary>("GET", `/v1/runs/${encodeURIComponent(onePositional(input, "run"))}`);
  if (input.flags.has("json")) terminal.line(JSON.stringify(run, null, 2));
  else
    for (const line of table(
      Object.entries(run).flatMap(([name, value]) =>
        value === null || value === undefined ? [] : [[name, typeof value === "string" ? value : JSON.stringify(value)]],
      ),
    ))
      terminal.line(line);
  return exitCodes.ok;
}

async function cancel(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<number> {
  const run = await client.request<RunSummary>("GET", `/v1/runs/${encodeURIComponent(onePositional(input, "run"))}`);
  const outcome = await client.request<Record<string, string>>("POST", `/v1/agents/${run.agent_id}/messages/cancel`, {
    body: { run_ids: [run.id] },
  });
  if (input.flags.has("json")) terminal.line(JSON.stringify(outcome, null, 2));
  else terminal.note(`Asked ${run.id} to stop: ${outcome[run.id] ?? "done"}`);
  return exitCodes.ok;
}

async function follow(client: ApiClient, input: CommandInput, program: Program): Promise<number> {
  const runId = onePositional(input, "run");
  const after = input.values.get("after") ?? "0";
  if (!/^\d{1,15}$/.test(after)) throw new UsageError(`--after is the number of an event, not ${JSON.stringify(after)}`);
  const view = new RunView(program.terminal);
  const stop = new AbortController();
  const forget = program.onSignal(() => stop.abort());
  try {
    const onConnection = (state: "lost" | "back"): void =>
      program.terminal.note(state === "lost" ? "(connection lost; trying again)" : "(connected again)");
    for await (const message of followRun(client, { runId, after: Number(after), onConnection, signal: stop.signal })) {
      if (input.flags.has("json")) program.terminal.line(JSON.stringify(message));
      else view.show(message);
    }
    return exitCodes.ok;
  } catch (error) {
    if (stop.signal.aborted) return exitCodes.interrupted;
    throw error instanceof Error && error.message === "" ? new CommandError("The run could not be followed", { cause: error }) : error;
  } finally {
    view.end();
    forget();
  }
}
