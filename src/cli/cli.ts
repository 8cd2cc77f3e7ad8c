/** The command line: finds the command, runs it, and turns what went wrong into words and an exit code. */
import { suggestion } from "../base/nearest.ts";
import { actorsCommand } from "./actors.ts";
import { agentsCommand } from "./agents.ts";
import { ApiError, ServerUnreachableError } from "./api-client.ts";
import { approvalsCommand } from "./approvals.ts";
import { auditCommand } from "./audit.ts";
import { chatCommand } from "./chat.ts";
import { columns, type Command, CommandError, exitCodes, helpText, parseOptions, UsageError } from "./command.ts";
import { doctorCommand } from "./doctor.ts";
import { drainCommand } from "./drain.ts";
import { effectsCommand } from "./effects.ts";
import { mcpCommand } from "./mcp.ts";
import { nodesCommand } from "./nodes.ts";
import { policyCommand } from "./policy.ts";
import type { Program } from "./program.ts";
import { runsCommand } from "./runs.ts";
import { serveCommand } from "./serve.ts";
import { skillsCommand } from "./skills.ts";

/** Runs `kelpie` with these arguments and resolves with its exit code. */
export async function runCommandLine(args: readonly string[], program: Program): Promise<number> {
  const { terminal } = program;
  const commands = [
    serveCommand(program),
    chatCommand,
    agentsCommand,
    runsCommand,
    approvalsCommand,
    policyCommand,
    effectsCommand,
    mcpCommand,
    skillsCommand,
    nodesCommand,
    drainCommand,
    actorsCommand,
    auditCommand,
    doctorCommand(program),
  ];
  const [name = "help", ...rest] = args;
  try {
    if (name === "version" || name === "--version" || name === "-v") {
      terminal.line(
        rest.includes("--json")
          ? JSON.stringify({ version: program.version, node: process.version })
          : `kelpie ${program.version} (Node ${process.version})`,
      );
      return exitCodes.ok;
    }
    if (name === "help" || name === "--help" || name === "-h") {
      const topic = rest.find((argument) => !argument.startsWith("-"));
      terminal.write(topic === undefined ? overview(commands) : helpText(commandCalled(topic, commands)));
      return exitCodes.ok;
    }
    const command = commandCalled(name, commands);
    const input = parseOptions(command, rest);
    if (input.flags.has("help")) {
      terminal.write(helpText(command));
      return exitCodes.ok;
    }
    return await command.run(input, program);
  } catch (error) {
    return explain(error, name, program);
  }
}

function commandCalled(name: string, commands: readonly Command[]): Command {
  const command = commands.find((candidate) => candidate.name === name);
  if (command !== undefined) return command;
  const names = [...commands.map((candidate) => candidate.name), "help", "version"];
  throw new UsageError(`kelpie has no command ${JSON.stringify(name)}.${suggestion(name, names)} There are ${names.join(", ")}`);
}

function overview(commands: readonly Command[]): string {
  return [
    "kelpie: runs AI agents that remember, and that survive being killed",
    "",
    "Usage: kelpie <command> [options]",
    "",
    "Commands:",
    ...columns([
      ...commands.map((command) => [command.name, command.summary] as const),
      ["help", "Explain a command: kelpie help chat"],
      ["version", "Print the version"],
    ]),
    "",
    "Exit codes: 0 done · 1 failed · 2 wrong command line or setting · 3 no server at the address · 4 a node that the others took to be dead · 130, 143 interrupted",
    "Settings are options or variables: docs/reference/configuration.md",
    "",
  ].join("\n");
}

function explain(error: unknown, name: string, { terminal }: Program): number {
  const say = (text: string): void => terminal.note(`${terminal.style("red", "error:")} ${text}`);
  if (error instanceof UsageError) {
    say(error.message);
    terminal.note(`kelpie help${/^[a-z]+$/.test(name) && name !== "help" ? ` ${name}` : ""} explains more`);
    return exitCodes.usage;
  }
  if (error instanceof ServerUnreachableError) {
    say(error.message);
    terminal.note("Start one with npm start, or name another with --server <url>");
    return exitCodes.unreachable;
  }
  if (error instanceof ApiError || error instanceof CommandError) {
    say(error.message);
    return exitCodes.failed;
  }
  // Not foreseen: the stack is what a report needs.
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return exitCodes.failed;
}
