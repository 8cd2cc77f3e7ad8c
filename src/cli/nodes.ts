/** `kelpie nodes`: which nodes make up the Kelpie that one asks. */
import type { ClusterAnswer } from "../server/routes/cluster.ts";
import { type Command, exitCodes, jsonOption, refuseArguments, serverOption } from "./command.ts";
import { clientFor } from "./remote.ts";
import { printable } from "./terminal.ts";
import { table } from "./text.ts";

export const nodesCommand: Command = {
  name: "nodes",
  summary: "List the nodes of a cluster",
  usage: "[options]",
  description: "the nodes of a running Kelpie, as the one sees them that is asked",
  options: [serverOption, jsonOption],
  examples: ["kelpie nodes", "kelpie nodes --server http://127.0.0.1:8284 --json"],
  async run(input, program) {
    refuseArguments("nodes", input);
    const { terminal } = program;
    const client = clientFor(input, program);
    const cluster = await client.request<ClusterAnswer>("GET", "/v1/cluster");
    if (input.flags.has("json")) terminal.line(JSON.stringify(cluster, null, 2));
    else if (cluster.node === null)
      terminal.line(`The Kelpie at ${client.url} runs alone. Others can join one that is started with KELPIE_NODE=<name>`);
    else {
      const rows = cluster.members.map((member) => [
        printable(member.name),
        member.state,
        String(member.actors ?? "?"),
        ageOf(member.joined_at),
        printable(member.address ?? ""),
        String(member.capacity),
        `${member.wire.min}-${member.wire.max}`,
        `${member.schema.min}-${member.schema.max}`,
        member.node === cluster.node ? "answers" : member.actors === null ? "is silent" : "",
      ]);
      for (const line of table([["NAME", "STATE", "ACTORS", "AGE", "ADDRESS", "CAPACITY", "WIRE", "SCHEMA", ""], ...rows]))
        terminal.line(line);
    }
    return exitCodes.ok;
  },
};

/** How long ago that was, in its largest whole unit. */
function ageOf(iso: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} d`;
}
