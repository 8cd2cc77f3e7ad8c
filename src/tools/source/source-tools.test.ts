import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { SandboxUnavailableError } from "../../sandbox/sandbox.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import type { ToolInput, ToolResult } from "../tool.ts";
import { newTool, type ToolRecord } from "../tool-record.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { Packages } from "./packages.ts";
import { SourceTools } from "./source-tools.ts";
import { ToolSandboxes } from "./tool-sandboxes.ts";

const environment = new RealEnvironment({ level: "error", write: () => undefined });
const context = { effectId: "effect-1", project: "p", agentId: "agent-1", conversationId: "default" };

function python(body: string, signature = "n: int"): ToolRecord {
  return newTool(environment, {
    source_code: `def work(${signature}):\n    """Works.\n\n    Args:\n        n (int): A number.\n    """\n${body.replaceAll(/^/gm, "    ")}\n`,
  });
}

function typescript(source: string): ToolRecord {
  const properties = { text: { type: "string" }, times: { type: "integer" } };
  return newTool(environment, {
    source_code: source,
    source_type: "typescript",
    json_schema: { name: "repeat", parameters: { type: "object", properties } },
  });
}

function toolsOver(sandboxes: ToolSandboxes): SourceTools {
  const registryOf = (): Promise<never> => Promise.reject(new Error("No test here installs packages"));
  const packages = new Packages({ environment, sandboxes, folder: "/nonexistent", registryOf });
  return new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
}

describe("Tools of source code", { skip: bubblewrapMissing ?? false }, () => {
  const sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });
  after(() => sandboxes[Symbol.asyncDispose]());
  const tools = toolsOver(sandboxes);
  const call = async (record: ToolRecord, input: ToolInput, signal = new AbortController().signal): Promise<ToolResult> =>
    await tools.tool(record)!.execute(input, { ...context, signal });

  for (const [what, body, text] of [
    ["a text", "return 'got ' + str(n)", "got 3"],
    ["a number", "return n * 2", "6"],
    ["an object", "return {'n': n, 'list': [1, None, True]}", '{"n":3,"list":[1,null,true]}'],
    ["nothing", "pass", "null"],
    ["what is no JSON", "return {1, 1}", "{1}"],
    ["no number", "return float('nan')", "nan"],
    ["what it prints beside", "print('noise'); return n", "3"],
    ["the id of its effect", "import os; return os.environ['KELPIE_EFFECT_ID']", "effect-1"],
  ] as const)
    test(`A function in Python gives ${what}`, async () => {
      assert.deepEqual(await call(python(body), { n: 3 }), {
        status: "success",
        text,
        stdout: what === "what it prints beside" ? "noise\n" : "",
        stderr: "",
      });
    });

  test("A coroutine in Python is awaited", async () => {
    const source_code = 'async def work(n: int):\n    """Works.\n\n    Args:\n        n (int): A number.\n    """\n    return n + 1\n';
    assert.equal((await call(newTool(environment, { source_code }), { n: 1 })).text, "2");
  });

  test("A function in TypeScript gets its arguments in the order of its schema, exported or not", async () => {
    for (const before of ["export ", ""]) {
      const record = typescript(
        `${before}async function repeat(text: string, times: number): Promise<string> { return text.repeat(times); }`,
      );
      assert.deepEqual(await call(record, { times: 3, text: "ab" }), { status: "success", text: "ababab", stdout: "", stderr: "" });
    }
  });

  for (const [what, body, text] of [
    ["throws", "raise ValueError('too small')", /^Traceback[\s\S]*tool\.py", line 7, in work\n[\s\S]*ValueError: too small$/],
    ["does not parse", "return (", /SyntaxError/],
    ["ends the process", "import os; os._exit(3)", /ended without a result \(exit code 3\)/],
    ["raises SystemExit", "raise SystemExit(0)", /SystemExit/],
    ["eats memory", "x = bytearray(3 * 1024 ** 3); return len(x)", /MemoryError|memory and was ended/],
    ["writes without end", "while True: print('x' * 1000)", /wrote more than \d+ bytes and was ended/],
    ["writes what is no JSON to its outcome", "import os; open('outcome.json','w').write('{'); os._exit(0)", /ended without a result/],
    [
      "reaches for the network",
      "import urllib.request; return urllib.request.urlopen('http://127.0.0.1:8283', timeout=5).status",
      /URLError/,
    ],
    ["reads the host's files", "return open('/etc/shadow').read()", /Error/],
    ["puts a folder in place of its outcome", "import os; os.mkdir('outcome.json'); return 1", /ended without a result/],
    ["leads its outcome out of the sandbox", "import os; os.symlink('/etc/passwd', 'outcome.json'); os._exit(0)", /ended without a result/],
    ["gives a huge result", "return 'x' * (9 * 2 ** 20)", /more than 8388608 bytes: return less/],
    ["fills the disk", "open('big', 'wb').write(b'x' * (400 * 2 ** 20)); return 1", /File too large|disk and was ended/],
    ["forks without end", "import os\nwhile True:\n    os.fork()", /BlockingIOError|was ended|ended without/],
    ["asks for the state of an agent that is not there", "return agent_state", /ended|asks for agent_state|NameError/],
  ] as const)
    test(`Code that ${what} is a result that says so`, async () => {
      const result = await call(python(body), { n: 1 });
      assert.equal(result.status, "error", result.text);
      assert.match(result.text, text);
    });

  test("Nothing of one call is there in the next", async () => {
    const record = python("import os; found = os.path.exists('left'); open('left', 'w').close(); return found");
    assert.equal((await call(record, { n: 1 })).text, "false");
    assert.equal((await call(record, { n: 1 })).text, "false");
  });

  test("The environment of Kelpie is not that of the code", async () => {
    process.env["OPENAI_API_KEY_OF_A_TEST"] = "sk-secret";
    assert.doesNotMatch((await call(python("import os; return str(os.environ)"), { n: 1 })).text, /sk-secret/);
  });

  test("The agent's secrets are variables of the code", async () => {
    const record = python("import os; return os.environ['TOKEN']");
    const { signal } = new AbortController();
    assert.equal((await tools.tool(record)!.execute({ n: 1 }, { ...context, secrets: { TOKEN: "abc" }, signal })).text, "abc");
  });

  test("Code that a model writes has none of them", async () => {
    const runCode = tools.tool({ ...python("return 1"), name: "run_code", tool_type: "letta_builtin" })!;
    const input = { language: "python", code: "import os; print(sorted(os.environ))" };
    const { signal } = new AbortController();
    const { text } = await runCode.execute(input, { ...context, secrets: { TOKEN: "abc" }, signal });
    assert.match(text, /KELPIE_AGENT_ID/);
    assert.doesNotMatch(text, /TOKEN/);
  });

  test("Code that runs for ever ends when the call is given up", async () => {
    const giveUp = new AbortController();
    const called = call(python("while True: pass"), { n: 1 }, giveUp.signal);
    setImmediate(() => giveUp.abort(new Error("given up")));
    await assert.rejects(called, /given up/);
  });

  test("Code that ignores SIGTERM and leaves a process behind ends with its call", async () => {
    const body = [
      "import os, signal, time",
      "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
      "if os.fork() == 0:",
      "    os.setsid()",
      "    while True: time.sleep(1)",
      "return n",
    ].join("\n");
    assert.equal((await call(python(body), { n: 1 })).text, "1");
  });

  for (const [what, requirement, problem] of [
    ["an address", { name: "https://example.com/x.whl" }, /is no name of a package/],
    ["an option", { name: "--index-url=http://example.com" }, /is no name of a package/],
    ["a version that is an option", { name: "six", version: "1 --pre" }, /is no version of six/],
  ] as const)
    test(`A requirement that is ${what} is refused before anything runs`, async () => {
      const record = { ...python("return n"), pip_requirements: [requirement] };
      const result = await call(record, { n: 1 });
      assert.equal(result.status, "error");
      assert.match(result.text, problem);
    });

  test("run_code gives what code prints, in Python and JavaScript", async () => {
    const record = { ...python("pass"), name: "run_code", tool_type: "letta_builtin" as const };
    assert.deepEqual(await call(record, { code: "print(6 * 7)", language: "python" }), {
      status: "success",
      text: "42\n",
      stdout: "42\n",
      stderr: "",
    });
    assert.equal((await call(record, { code: "console.log(6 * 7)", language: "js" })).text, "42\n");
    assert.equal((await call(record, { code: "const n: number = 6 * 7; console.log(n)", language: "ts" })).text, "42\n");
    assert.match((await call(record, { code: "1/0", language: "python" })).text, /exit code 1[\s\S]*ZeroDivisionError/);
    assert.equal((await call(record, { code: "", language: "cobol" })).status, "error");
  });

  test("A tool without a network may be called again after a crash; one with hosts may not", () => {
    assert.equal(tools.tool(python("return n"))!.effect, "readOnly");
    assert.equal(tools.tool({ ...python("return n"), metadata_: { network_hosts: ["example.com"] } })!.effect, "once");
    assert.equal(tools.tool(python("return agent_state.id", "n: int, agent_state: 'AgentState'"))!.effect, "once");
  });

  test("The owner's word on the effect of a tool comes first, if it is one", () => {
    const withEffect = (effect: string): ToolRecord => ({ ...python("return n"), metadata_: { effect } });
    assert.equal(tools.tool(withEffect("once"))!.effect, "once");
    assert.equal(tools.tool(withEffect("idempotent"))!.effect, "idempotent");
    assert.equal(tools.tool(withEffect("state"))!.effect, "readOnly");
  });
});

test("Without a sandbox no code runs, and the result says what to do", async () => {
  const openBackend = async (): Promise<never> =>
    await Promise.reject(new SandboxUnavailableError("Cannot isolate code: install bubblewrap"));
  await using sandboxes = new ToolSandboxes({ environment, openBackend });
  const tools = toolsOver(sandboxes);
  const { signal } = new AbortController();
  assert.deepEqual(await tools.tool(python("return n"))!.execute({ n: 1 }, { ...context, signal }), {
    status: "error",
    text: "The code did not run: Cannot isolate code: install bubblewrap",
  });
});
