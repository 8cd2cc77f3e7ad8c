/** `kelpie drain`: lets a node of a cluster give its agents to the others, and waits until it has. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterAnswer, MemberAnswer } from "../server/routes/cluster.ts";
import { type ApiClient, ApiError } from "./api-client.ts";
import { type Command, CommandError, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { clientFor } from "./remote.ts";
import { printable } from "./terminal.ts";

const lookMilliseconds = 500;

export const drainCommand: Command = {
  name: "drain",
  summary: "Let a node give its agents to the others",
  usage: "[node] [options]   (without a name: the node that is asked)",
  description:
    "moves the agents of a node to the others, and ends when none is left in its memory. The node goes on to answer, and is given no more agents until it is started anew or the drain is undone",
  options: [{ name: "undo", meaning: "Let a node that was drained take agents again" }, serverOption, jsonOption],
  examples: ["kelpie drain node2", "kelpie drain --server http://127.0.0.1:8284 --json", "kelpie drain node2 --undo"],
  async run(input, program) {
    if (input.positionals.length > 1) throw new UsageError(`kelpie drain takes one node, and got ${input.positionals.length}`);
    const client = clientFor(input, program);
    const path = `/v1/cluster/nodes/${encodeURIComponent(await nodeToDrain(client, input))}`;
    const stop = new AbortController();
    const forget = program.onSignal(() => stop.abort());
    try {
      const member = input.flags.has("undo")
        ? await client.request<MemberAnswer>("DELETE", `${path}/drain`)
        : await drain(client, path, { program, signal: stop.signal });
      if (input.flags.has("json")) program.terminal.line(JSON.stringify(member, null, 2));
      else program.terminal.line(`${printable(member.name)} ${member.state === "up" ? "takes agents again" : "has given its agents away"}`);
      return exitCodes.ok;
    } catch (error) {
      if (!stop.signal.aborted) throw error;
      program.terminal.note("The node goes on with it. kelpie nodes shows how far it is, kelpie drain --undo ends it");
      return exitCodes.interrupted;
    } finally {
      forget();
    }
  },
};

async function nodeToDrain(client: ApiClient, input: CommandInput): Promise<string> {
  const [named] = input.positionals;
  if (named !== undefined) return named;
  const { node } = await client.request<ClusterAnswer>("GET", "/v1/cluster");
  if (node === null) throw new CommandError(`The Kelpie at ${client.url} runs alone: there is no node to take its agents`);
  return node;
}

/** The node when nothing of it is left in memory. @throws {CommandError} It takes agents again, or has gone. */
async function drain(
  client: ApiClient,
  path: string,
  { program, signal }: { readonly program: Program; readonly signal: AbortSignal },
): Promise<MemberAnswer> {
  let member = await client.request<MemberAnswer>("POST", `${path}/drain`, { signal });
  const name = printable(member.name);
  for (
    let shown: number | null = null;
    member.state === "draining" && member.actors !== 0;
    await sleep(lookMilliseconds, null, { signal })
  ) {
    if (member.actors !== shown) program.terminal.note(`${name}: ${member.actors ?? "an unknown number"} in memory`);
    shown = member.actors;
    member = await client.request<MemberAnswer>("GET", path, { signal }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 404)
        throw new CommandError(`${name} has left the cluster before it was empty`, { cause: error });
      throw error;
    });
  }
  if (member.state === "draining") return member;
  throw new CommandError(
    `${name} takes agents again, with ${member.actors ?? "an unknown number"} in memory: no other node is up, or somebody has undone the drain`,
  );
}
