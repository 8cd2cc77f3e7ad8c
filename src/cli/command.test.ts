import assert from "node:assert/strict";
import { test } from "node:test";
import { type Command, helpText, parseOptions, UsageError } from "./command.ts";

const command: Command = {
  name: "sail",
  summary: "Go to sea",
  usage: "[options] <port>",
  description: "goes to sea",
  options: [
    { name: "port", short: "p", value: "number", meaning: "Where to" },
    { name: "json", meaning: "As JSON" },
  ],
  examples: ["kelpie sail --port 1"],
  run: () => Promise.resolve(0),
};

test("Options, values and positionals are told apart", () => {
  const input = parseOptions(command, ["oslo", "--port=8", "--json", "--", "--port"]);
  assert.deepEqual(input.positionals, ["oslo", "--port"]);
  assert.deepEqual([...input.values], [["port", "8"]]);
  assert.deepEqual([...input.flags], ["json"]);
  assert.deepEqual([...parseOptions(command, ["-p", "8"]).values], [["port", "8"]]);
  assert.deepEqual([...parseOptions(command, ["--port=-1"]).values], [["port", "-1"]]);
});

for (const [args, message] of [
  [["--prot", "8"], "kelpie sail has no option --prot. Did you mean --port?"],
  [["-x"], "kelpie sail has no option -x."],
  [["--port"], "--port needs a value: --port <number> (or --port=<number>)"],
  [["--port", "--json"], "--port needs a value: --port <number> (or --port=<number>)"],
  [["--port", "-1"], "--port needs a value: --port <number> (or --port=<number>)"],
  [["--json=yes"], '--json takes no value, and got "yes"'],
  [["--port", "1", "-p", "2"], "-p was given twice"],
] as const)
  test(`Refused: ${args.join(" ")}`, () =>
    assert.throws(
      () => parseOptions(command, args),
      (error) => error instanceof UsageError && error.message === message,
    ));

test("The help of a command has its usage, every option and the examples", () => {
  const help = helpText(command);
  for (const part of [
    "Usage: kelpie sail [options] <port>",
    "-p, --port <number>  Where to",
    "--json",
    "-h, --help",
    "kelpie sail --port 1",
  ])
    assert.ok(help.includes(part), part);
});
