/** `kelpie approvals`: calls of tools that wait for a person. */
import { suggestion } from "../base/nearest.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { clientFor, findAgent, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

interface Approval {
  readonly id: string;
  readonly agent_id: string;
  readonly conversation_id: string | null;
  readonly run_id: string;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly hash: string;
  readonly calls: readonly WaitingCall[];
}

interface WaitingCall {
  readonly tool_call_id: string;
  readonly name: string;
  readonly arguments: string;
  readonly waits_for: "approval" | "client" | null;
}

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = {
  list,
  show,
  approve,
  deny,
};

export const approvalsCommand: Command = {
  name: "approvals",
  summary: "List, approve and deny calls of tools that wait for a person",
  usage: "list | show <id> | approve <id> [--call <id>] | deny <id> [--reason <text>]",
  description:
    "calls of tools that wait for a person, as policies want it (kelpie policy). The agent goes on as soon as all calls of a request are decided",
  options: [
    { name: "agent", value: "id|name", meaning: "list: only those of this agent" },
    { name: "call", value: "id[,id…]", meaning: "approve: only these calls; the others of the request are denied" },
    { name: "hash", value: "hash", meaning: "approve: only if the request is still the one that has this hash; show prints it" },
    { name: "reason", value: "text", meaning: "deny: why; the agent is told" },
    serverOption,
    jsonOption,
  ],
  examples: [
    "kelpie approvals",
    "kelpie approvals show message-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
    "kelpie approvals approve message-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
    'kelpie approvals deny message-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed --reason "Not on a Friday"',
  ],
  async run(input, program) {
    const verb = input.positionals[0] ?? "list";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(
        `kelpie approvals cannot ${JSON.stringify(verb)}: it can list, show, approve and deny.${suggestion(verb, Object.keys(verbs))}`,
      );
    refuseOptionsOfOthers(verb, input);
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

/** An option that is passed over might have been meant to change what is decided. */
function refuseOptionsOfOthers(verb: string, { values }: CommandInput): void {
  const verbOf: Readonly<Record<string, string>> = { agent: "list", call: "approve", hash: "approve", reason: "deny" };
  for (const name of values.keys())
    if ((verbOf[name] ?? verb) !== verb) throw new UsageError(`--${name} is for kelpie approvals ${verbOf[name]}, not for ${verb}`);
}

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const named = input.values.get("agent");
  const agentId = named === undefined ? undefined : (await findAgent(client, named)).id;
  const approvals = await client.request<Approval[]>("GET", "/v1/approvals", { query: { agent_id: agentId, limit: 50 } });
  if (input.flags.has("json")) return terminal.line(JSON.stringify(approvals, null, 2));
  if (approvals.length === 0) return terminal.line("Nothing waits for approval.");
  const rows = approvals.map((approval) => [
    approval.id,
    approval.agent_id,
    time(approval.created_at),
    approval.expires_at === null ? "" : time(approval.expires_at),
    shorten(printable(approval.calls.map((call) => `${call.name}(${call.arguments})`).join(", ")), 80),
  ]);
  for (const line of table([["ID", "AGENT", "ASKED", "UNTIL", "CALLS"], ...rows])) terminal.line(line);
}

async function show(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const approval = await read(client, input);
  if (input.flags.has("json")) return terminal.line(JSON.stringify(approval, null, 2));
  const { id, agent_id, conversation_id, run_id, created_at, expires_at, hash } = approval;
  const facts: (readonly [string, string])[] = [
    ["id", id],
    ["agent", agent_id],
    ["conversation", conversation_id ?? "default"],
    ["run", run_id],
    ["asked", time(created_at)],
    ["until", expires_at === null ? "" : time(expires_at)],
    ["hash", hash],
  ];
  for (const line of table(facts)) terminal.line(line);
  for (const call of approval.calls) {
    const kind = { approval: "waits for approval", client: "waits for its client", none: "is made with the others" };
    terminal.line();
    terminal.line(`${printable(call.name)}  ${printable(call.tool_call_id)}  ${kind[call.waits_for ?? "none"]}`);
    terminal.line(printable(indented(call.arguments)));
  }
}

async function approve(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  const approval = await read(client, input);
  const hash = input.values.get("hash") ?? approval.hash;
  const ids = input.values.get("call")?.split(",");
  const calls = approval.calls.filter((call) => call.waits_for === "approval");
  const unknown = ids?.find((id) => !calls.some((call) => call.tool_call_id === id));
  if (unknown !== undefined)
    throw new UsageError(
      `No call ${JSON.stringify(unknown)} waits in ${approval.id}: ${calls.map((call) => call.tool_call_id).join(", ")} do`,
    );
  const decisions = calls.map(({ tool_call_id }) => ({ tool_call_id, approve: ids?.includes(tool_call_id) ?? true }));
  await decide(client, input, program, { id: approval.id, body: { decisions, hash } });
}

async function deny(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  const reason = input.values.get("reason");
  await decide(client, input, program, {
    id: onePositional(input, "approval"),
    body: { approve: false, ...(reason === undefined ? {} : { reason }) },
  });
}

async function decide(
  client: ApiClient,
  input: CommandInput,
  { terminal }: Program,
  { id, body }: { readonly id: string; readonly body: unknown },
): Promise<void> {
  const run = await client.request<{ readonly id: string }>("POST", pathOf(id), { body });
  if (input.flags.has("json")) return terminal.line(JSON.stringify(run, null, 2));
  terminal.line(`The agent goes on in ${run.id}: kelpie runs follow ${run.id}`);
}

async function read(client: ApiClient, input: CommandInput): Promise<Approval> {
  return await client.request<Approval>("GET", pathOf(onePositional(input, "approval")));
}

function pathOf(id: string): string {
  return `/v1/approvals/${encodeURIComponent(id)}`;
}

/** Arguments that are no JSON are shown as they are. */
function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function time(iso: string): string {
  return iso.slice(0, 19).replace("T", " ");
}
