import assert from "node:assert/strict";
import { test } from "node:test";
import { runCommandLine } from "./cli.ts";
import { CommandError, exitCodes } from "./command.ts";
import { testProgram } from "./testing.ts";

const commands = ["serve", "chat", "agents", "runs", "approvals", "policy", "effects", "nodes", "drain", "actors", "audit", "doctor"];

test("Without a command, and with help, it lists the commands", async () => {
  for (const args of [[], ["help"], ["--help"], ["-h"]]) {
    const program = testProgram();
    assert.equal(await runCommandLine(args, program), exitCodes.ok);
    for (const name of commands) assert.match(program.output(), new RegExp(`^  ${name} `, "m"));
  }
});

for (const name of commands)
  test(`kelpie ${name} --help and kelpie help ${name} say the same, with examples`, async () => {
    const [first, second] = [testProgram(), testProgram()];
    assert.equal(await runCommandLine([name, "--help"], first), exitCodes.ok);
    assert.equal(await runCommandLine(["help", name], second), exitCodes.ok);
    assert.equal(first.output(), second.output());
    assert.match(first.output(), new RegExp(`^Examples:\\n {2}(\\S*=\\S+ )?kelpie ${name}`, "m"));
  });

test("The version is a line, or JSON", async () => {
  const program = testProgram();
  await runCommandLine(["version"], program);
  assert.match(program.output(), /^kelpie 1\.2\.3 \(Node v\d+/);
  const json = testProgram();
  await runCommandLine(["version", "--json"], json);
  assert.equal((JSON.parse(json.output()) as { version: string }).version, "1.2.3");
});

for (const [args, code, note] of [
  [["serv"], exitCodes.usage, /no command "serv"\. Did you mean serve\?/],
  [["help", "chatt"], exitCodes.usage, /Did you mean chat\?/],
  [["serve", "--prot", "1"], exitCodes.usage, /no option --prot\. Did you mean --port\?/],
  [["chat", "hello"], exitCodes.usage, /kelpie chat --message "hello"/],
  [["chat", "--agent", "a", "--new"], exitCodes.usage, /--agent names an agent that exists/],
  [["agents", "lst"], exitCodes.usage, /cannot "lst".*Did you mean list\?/],
  [["agents", "show"], exitCodes.usage, /show needs agent/],
  [["agents", "list", "--limit", "0"], exitCodes.usage, /--limit is a number from 1 to 9999, not "0"/],
  [["runs", "follow", "run-1", "--after", "x"], exitCodes.usage, /--after is the number of an event, not "x"/],
  [["effects", "setle"], exitCodes.usage, /cannot "setle".*Did you mean settle\?/],
  [["effects", "settle", "--outcome", "failed"], exitCodes.usage, /settle needs effects/],
  [["effects", "settle", "run-1:step-1:call-1"], exitCodes.usage, /needs --outcome, one of succeeded, failed, did_not_happen\n/],
  [["effects", "settle", "run-1:step-1:call-1", "--outcome", "done"], exitCodes.usage, /did_not_happen, and not "done"/],
  [["effects", "show", "run-1"], exitCodes.usage, /"run-1" is no effect: its id is written as run:step:call/],
  [["approvals", "aprove"], exitCodes.usage, /cannot "aprove".*Did you mean approve\?/],
  [["approvals", "approve"], exitCodes.usage, /approve needs approval/],
  [["approvals", "approve", "message-1", "--reason", "x"], exitCodes.usage, /--reason is for kelpie approvals deny, not for approve/],
  [["approvals", "deny", "message-1", "--call", "x"], exitCodes.usage, /--call is for kelpie approvals approve, not for deny/],
  [["policy", "set"], exitCodes.usage, /set needs file/],
  [["policy", "set", "/nowhere/policy.json"], exitCodes.failed, /The file \/nowhere\/policy\.json cannot be read/],
  [["policy", "set", "-"], exitCodes.failed, /- is not JSON/],
  [["drain", "a", "b"], exitCodes.usage, /takes one node, and got 2/],
  [["actors"], exitCodes.usage, /kelpie actors show <id>/],
  [["actors", "show", "ada"], exitCodes.usage, /"ada" names no actor/],
  [["audit", "--limit", "1001"], exitCodes.usage, /--limit is a number from 1 to 1000, not "1001"/],
  [["agents", "list", "--server", "localhost:1"], exitCodes.usage, /not a URL: "localhost:1"/],
  [
    ["agents", "list", "--server", "http://127.0.0.9:64999"],
    exitCodes.unreachable,
    /No Kelpie answers at http:\/\/127\.0\.0\.9:64999: nothing listens there/,
  ],
] as const)
  test(`kelpie ${args.join(" ")} ends with ${code}`, async () => {
    const program = testProgram();
    assert.equal(await runCommandLine(args, program), code);
    assert.match(program.notes(), note);
    assert.equal(program.output(), "");
  });

test("A server that cannot start says why, without a stack", async () => {
  const program = testProgram({ serve: () => Promise.reject(new CommandError("the port is in use")) });
  assert.equal(await runCommandLine(["serve"], program), exitCodes.failed);
  assert.equal(program.notes(), "error: the port is in use\n");
});

test("serve shows the address, the data, and that the demo model is not one", async () => {
  const { program, stopped } = servingProgram();
  const code = runCommandLine(["serve"], program);
  await untilListening();
  for (const part of [
    "Kelpie 1.2.3 is ready at http://localhost:8283",
    "/data/kelpie.db",
    "not a language model",
    "OPENAI_API_KEY",
    "npm run kelpie -- chat",
    "LETTA_BASE_URL=http://localhost:8283",
  ])
    assert.ok(program.output().includes(part), part);
  program.signal("SIGTERM");
  stopped.resolve();
  assert.equal(await code, exitCodes.ok);
});

test("The first signal stops serve in good order, one long after it stops it at once", async (t) => {
  const { program } = servingProgram();
  const code = runCommandLine(["serve"], program);
  await untilListening();
  let now = 1_000;
  t.mock.method(performance, "now", () => now);
  program.signal("SIGINT");
  // npm passes on the Ctrl-C that the terminal has sent already: still the same wish.
  now += 5;
  program.signal("SIGINT");
  now += 1_000;
  program.signal("SIGINT");
  assert.equal(await code, exitCodes.interrupted);
});

test("A node that the others take to be dead says so, and ends with a code of its own", async () => {
  const fenced = Promise.withResolvers<Error>();
  const { program } = servingProgram(fenced.promise);
  const code = runCommandLine(["serve"], program);
  await untilListening();
  fenced.resolve(new Error("Node a#1 was taken to be dead"));
  assert.equal(await code, exitCodes.fenced);
  assert.match(program.notes(), /error: Node a#1 was taken to be dead.*start it again/);
});

test("doctor fails when something would keep the server from starting", async () => {
  const findings = [
    { subject: "Node", state: "ok", detail: "v24" },
    { subject: "port", state: "problem", detail: "in use" },
  ] as const;
  const program = testProgram({ diagnose: () => Promise.resolve(findings) });
  assert.equal(await runCommandLine(["doctor"], program), exitCodes.failed);
  assert.equal(program.output(), "✔ Node  v24\n✖ port  in use\n");
  const json = testProgram({ diagnose: () => Promise.resolve(findings.slice(0, 1)) });
  assert.equal(await runCommandLine(["doctor", "--json"], json), exitCodes.ok);
  assert.deepEqual(JSON.parse(json.output()), findings.slice(0, 1));
});

function servingProgram(fenced: Promise<Error> = new Promise(() => {})): {
  readonly program: ReturnType<typeof testProgram>;
  readonly stopped: PromiseWithResolvers<void>;
} {
  const stopped = Promise.withResolvers<void>();
  const program = testProgram({
    serve: () =>
      Promise.resolve({
        url: "http://localhost:8283",
        data: "/data/kelpie.db",
        node: undefined,
        model: "kelpie/demo",
        hasKey: false,
        warnings: [],
        startMilliseconds: 300,
        isSupervised: false,
        fenced,
        stop: () => stopped.promise,
      }),
  });
  return { program, stopped };
}

/** The command has called `serve` and waits for signals once the microtasks are done. */
async function untilListening(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
