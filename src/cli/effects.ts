/** `kelpie effects`: the calls that left Kelpie, and what became of those of which nobody knows. */
import { suggestion } from "../base/nearest.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { clientFor, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

interface Effect {
  readonly effect_id: string;
  readonly run_id: string;
  readonly agent_id: string;
  readonly tool_name: string;
  readonly effect_class: string;
  readonly state: string;
  readonly updated_at: string;
  readonly settled: { readonly outcome: string; readonly note: string | null; readonly at: string } | null;
}

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = {
  list,
  show,
  settle,
};
const outcomes = ["succeeded", "failed", "did_not_happen"];
/** As many as the API lists at once. */
const pageMax = 1_000;

export const effectsCommand: Command = {
  name: "effects",
  summary: "List calls whose outcome nobody knows, and settle them",
  usage: "list [run] | show <effect> | settle <effect>... --outcome <outcome> [--note <text>]",
  description:
    "the calls of tools that left a running Kelpie. list shows those of a run, or without one those of all runs whose outcome nobody knows: a crash or a time limit came before the answer, and they were not made again. settle says what became of them, and their agents are told",
  options: [
    { name: "unknown", meaning: "list: only those whose outcome nobody knows" },
    { name: "outcome", value: outcomes.join("|"), meaning: "settle: what became of the calls" },
    { name: "note", value: "text", meaning: "settle: what their agents are told beside" },
    serverOption,
    jsonOption,
  ],
  examples: [
    "kelpie effects list",
    "kelpie effects list run-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
    'kelpie effects settle run-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed:step-0e1f:call_1 --outcome succeeded --note "Invoice 17 was sent"',
  ],
  async run(input, program) {
    const verb = input.positionals[0] ?? "list";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(
        `kelpie effects cannot ${JSON.stringify(verb)}: it can list, show and settle.${suggestion(verb, Object.keys(verbs))}`,
      );
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const run = input.positionals.length > 1 ? onePositional(input, "run") : undefined;
  const effects = await all(client, run === undefined ? "/v1/effects" : `/v1/runs/${encodeURIComponent(run)}/effects`);
  const shown = input.flags.has("unknown") ? effects.filter(({ state }) => state === "unknown") : effects;
  if (input.flags.has("json")) return terminal.line(JSON.stringify(shown, null, 2));
  if (shown.length === 0)
    return terminal.line(
      run === undefined || input.flags.has("unknown") ? "No call has an unknown outcome." : "No call of this run left Kelpie.",
    );
  const rows = shown.map((effect) => [
    effect.updated_at.slice(0, 19).replace("T", " "),
    effect.state,
    printable(effect.tool_name),
    effect.effect_class,
    effect.agent_id,
    printable(effect.effect_id),
  ]);
  for (const line of table([["WHEN", "STATE", "TOOL", "CLASS", "AGENT", "ID"], ...rows])) terminal.line(line);
}

async function all(client: ApiClient, path: string): Promise<Effect[]> {
  const effects: Effect[] = [];
  for (;;) {
    const after = effects.at(-1)?.effect_id;
    const page = await client.request<Effect[]>("GET", path, { query: { limit: pageMax, ...(after === undefined ? {} : { after }) } });
    if (page.length === 0) return effects;
    effects.push(...page);
  }
}

async function show(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const effect = await client.request<Effect>("GET", pathOf(onePositional(input, "effect")));
  if (input.flags.has("json")) return terminal.line(JSON.stringify(effect, null, 2));
  const { settled, ...fields } = effect;
  const rows = Object.entries(fields).flatMap(([name, value]) =>
    value === null ? [] : [[name, printable(typeof value === "string" ? value : JSON.stringify(value))]],
  );
  for (const line of table(rows)) terminal.line(line);
  if (settled !== null)
    for (const line of table([
      ["settled", settled.at],
      ["note", shorten(printable(settled.note ?? ""), 500)],
    ]))
      terminal.line(line);
}

async function settle(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [, ...ids] = input.positionals;
  const [outcome, note] = [input.values.get("outcome"), input.values.get("note")];
  if (ids.length === 0) throw new UsageError("settle needs effects: kelpie effects list shows their ids");
  if (outcome === undefined || !outcomes.includes(outcome))
    throw new UsageError(
      `settle needs --outcome, one of ${outcomes.join(", ")}${outcome === undefined ? "" : `, and not ${JSON.stringify(outcome)}`}`,
    );
  // Before the first is settled.
  const paths = ids.map(pathOf);
  const settled: Effect[] = [];
  for (const path of paths) {
    const body = { outcome, ...(note === undefined ? {} : { note }) };
    const effect = await client.request<Effect>("POST", `${path}/settle`, { body });
    settled.push(effect);
    if (!input.flags.has("json")) terminal.line(`${printable(effect.effect_id)} ${effect.state}`);
  }
  if (input.flags.has("json")) terminal.line(JSON.stringify(settled, null, 2));
}

/** An effect's id begins with its run's. @throws {UsageError} */
function pathOf(id: string): string {
  const [runId] = id.split(":", 1);
  if (runId === id) throw new UsageError(`${JSON.stringify(id.slice(0, 100))} is no effect: its id is written as run:step:call`);
  return `/v1/runs/${encodeURIComponent(runId!)}/effects/${encodeURIComponent(id)}`;
}
