/** `kelpie audit`: who changed nodes, providers, tools and policies, and who decided approvals. */
import type { AuditEntry } from "../server/audit.ts";
import { type Command, exitCodes, jsonOption, refuseArguments, serverOption, UsageError } from "./command.ts";
import { clientFor } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

const limitDefault = "50";

export const auditCommand: Command = {
  name: "audit",
  summary: "List changes of nodes, providers, tools and policies, and decisions of approvals",
  usage: "[options]",
  description:
    "who changed nodes, providers, tools and policies of a running Kelpie or decided an approval, and when: the newest first. A key is shown by the beginning of its SHA-256",
  options: [{ name: "limit", value: "count", meaning: `How many at most, 1 to 1000; ${limitDefault}` }, serverOption, jsonOption],
  examples: ["kelpie audit", "kelpie audit --limit 1000 --json"],
  async run(input, program) {
    refuseArguments("audit", input);
    const limit = input.values.get("limit") ?? limitDefault;
    if (!/^([1-9]\d{0,2}|1000)$/.test(limit)) throw new UsageError(`--limit is a number from 1 to 1000, not ${JSON.stringify(limit)}`);
    const { terminal } = program;
    const entries = await clientFor(input, program).request<AuditEntry[]>("GET", "/v1/audit", { query: { limit } });
    if (input.flags.has("json")) terminal.line(JSON.stringify(entries, null, 2));
    else if (entries.length === 0) terminal.line("Nothing was changed yet.");
    else {
      const rows = entries.map((entry) => [
        entry.at.slice(0, 19).replace("T", " "),
        entry.action,
        printable(entry.target ?? ""),
        entry.outcome,
        entry.key ?? "",
        entry.address ?? "",
        printable(entry.node ?? ""),
        shorten(printable(entry.reason ?? ""), 80),
      ]);
      for (const line of table([["WHEN", "ACTION", "TARGET", "OUTCOME", "KEY", "FROM", "NODE", ""], ...rows])) terminal.line(line);
    }
    return exitCodes.ok;
  },
};
