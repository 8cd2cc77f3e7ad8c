/** `kelpie doctor`: what this machine and these settings allow, and what is in the way. */
import { type Command, exitCodes, jsonOption, refuseArguments } from "./command.ts";
import type { Program } from "./program.ts";
import { table } from "./text.ts";

const marks = { ok: ["green", "✔"], note: ["yellow", "•"], problem: ["red", "✖"] } as const;

export function doctorCommand(program: Program): Command {
  return {
    name: "doctor",
    summary: "Check this machine and the settings",
    usage: "[options]",
    description:
      "looks at Node, the store file, the port, the models and the keys (never printing one). Exit code 1 if kelpie serve would not start",
    options: [...program.serveOptions, jsonOption],
    examples: ["kelpie doctor", "kelpie doctor --data /var/lib/kelpie --json"],
    async run(input) {
      refuseArguments("doctor", input);
      const findings = await program.diagnose(input.values);
      const { terminal } = program;
      if (input.flags.has("json")) terminal.line(JSON.stringify(findings, null, 2));
      else {
        const lines = table(findings.map(({ subject, detail }) => [subject, detail]));
        for (const [index, { state }] of findings.entries()) {
          const [style, mark] = marks[state];
          terminal.line(`${terminal.style(style, mark)} ${lines[index]}`);
        }
      }
      return findings.some(({ state }) => state === "problem") ? exitCodes.failed : exitCodes.ok;
    },
  };
}
