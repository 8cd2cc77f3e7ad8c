/** `kelpie actors`: where an actor is, and what waits for it. */
import type { ActorAnswer } from "../server/routes/actor-sight.ts";
import { ApiError } from "./api-client.ts";
import { type Command, CommandError, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import { clientFor, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { table } from "./text.ts";

export const actorsCommand: Command = {
  name: "actors",
  summary: "Show where an actor is, and what waits for it",
  usage: "show <id>   (an agent's or a conversation's id, or <type>/<key>)",
  description: "an actor, as a running Kelpie and its store know it: an agent's id stands for the agent's own conversation",
  options: [serverOption, jsonOption],
  examples: ["kelpie actors show agent-6f1c…", "kelpie actors show counter/ada --json"],
  async run(input, program) {
    const [verb = ""] = input.positionals;
    if (verb !== "show") throw new UsageError(`kelpie actors can show one, not ${JSON.stringify(verb)}: kelpie actors show <id>`);
    const id = onePositional(input, "id");
    const client = clientFor(input, program);
    const actor = await client.request<ActorAnswer>("GET", pathOf(id)).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 404)
        throw new CommandError(`There is no actor ${JSON.stringify(id)} at ${client.url}, or nothing was ever said to it`, {
          cause: error,
        });
      throw error;
    });
    if (input.flags.has("json")) program.terminal.line(JSON.stringify(actor, null, 2));
    else for (const line of table(describe(actor))) program.terminal.line(line);
    return exitCodes.ok;
  },
};

function pathOf(id: string): string {
  const slash = id.indexOf("/");
  if (slash >= 0) return `/v1/actors/${encodeURIComponent(id.slice(0, slash))}/${encodeURIComponent(id.slice(slash + 1))}`;
  if (/^(agent|conv)-/.test(id)) return `/v1/actors/${encodeURIComponent(id)}`;
  throw new UsageError(`${JSON.stringify(id)} names no actor: give an agent's or a conversation's id, or <type>/<key>`);
}

function describe(actor: ActorAnswer): string[][] {
  const { owner, in_memory: live } = actor;
  return [
    ["actor", printable(`${actor.type}/${actor.key}`)],
    ["project", printable(actor.project)],
    [
      "owner",
      owner === null
        ? `nobody; last ${printable(actor.last_owner)}`
        : printable(`${owner.node}${owner.state === null ? "" : `, ${owner.state}`}`),
    ],
    ...(actor.moving_to === null ? [] : [["moving to", printable(actor.moving_to)]]),
    ["in memory", memory(actor)],
    ...(live === null ? [] : [["mailbox", `${live.messages} of ${live.messages_max} messages, ${live.bytes} of ${live.bytes_max} bytes`]]),
    ["epoch", String(actor.epoch)],
    ["version", String(actor.version)],
    ["schema", String(actor.schema)],
    ["committed", actor.committed_at === null ? "unknown" : moment(actor.committed_at)],
    ...actor.reminders.map(({ name, due }) => ["reminder", `${moment(due)}  ${printable(name)}`]),
    ["inbox", `${actor.inbox} messages`],
    ...actor.dead_letters.map(({ sender, died_at, error }) => [
      "dead letter",
      `${moment(died_at)}  from ${printable(sender)}: ${printable(error)}`,
    ]),
  ];
}

function memory({ owner, in_memory: live }: ActorAnswer): string {
  if (live !== null) return live.busy ? "yes, at work" : "yes, at rest";
  return owner?.answers === false ? "unknown: its node does not answer" : "no";
}

function moment(iso: string): string {
  return iso.slice(0, 19).replace("T", " ");
}
