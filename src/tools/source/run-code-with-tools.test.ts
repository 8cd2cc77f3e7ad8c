import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import type { OutsideToolContext, ToolInput, ToolResult } from "../tool.ts";
import { newTool } from "../tool-record.ts";
import { runCodeWithTools } from "./run-code-with-tools.ts";
import { ToolSandboxes } from "./tool-sandboxes.ts";

const environment = new RealEnvironment({ level: "error", write: () => undefined });
const record = newTool(environment, {
  source_type: "json",
  source_code: "",
  json_schema: { name: "run_code_with_tools", parameters: { type: "object", properties: {} } },
});

describe("run_code_with_tools", { skip: bubblewrapMissing ?? false }, () => {
  const sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });
  after(() => sandboxes[Symbol.asyncDispose]());
  const tool = runCodeWithTools(record, sandboxes);
  const calls: [string, ToolInput][] = [];
  const echo: NonNullable<OutsideToolContext["callTool"]> = (name, input) => {
    calls.push([name, input]);
    if (name === "broken") return Promise.resolve({ status: "error", text: "it is broken" });
    return Promise.resolve({ status: "success", text: name === "add" ? String(Number(input["left"]) + Number(input["right"])) : name });
  };
  const run = async (input: ToolInput, given: Partial<OutsideToolContext> = { callTool: echo }): Promise<ToolResult> => {
    calls.length = 0;
    const context = { effectId: "effect-1", project: "p", agentId: "agent-1", conversationId: "default" };
    return await tool.execute(input, { ...context, signal: new AbortController().signal, ...given });
  };

  for (const [language, code] of [
    [
      "python",
      "print('so', end='')\nn = 0\nfor at in range(100):\n    n = int(tools.add(left=n, right=at))\nprint('', n)\nprint(tools['a-b']())",
    ],
    [
      "js",
      "process.stdout.write('so');\nlet n = 0;\nfor (let at = 0; at < 100; at++) n = Number(await tools.add({ left: n, right: at }));\nconsole.log('', n);\nconsole.log(await tools['a-b']());",
    ],
    [
      "ts",
      "const n: string = '4950';\nfor (let at: number = 0; at < 100; at++) await tools.x();\nconsole.log('so', n);\nconsole.log(await tools['a-b']());",
    ],
  ] as const)
    test(`Code in ${language} calls tools a hundred times, and gives what it prints`, async () => {
      const result = await run({ code, language });
      assert.equal(result.text, "so 4950\na-b\n");
      assert.equal(result.status, "success");
      assert.equal(calls.length, 101);
      if (language !== "ts") assert.deepEqual(calls[99], ["add", { left: 4851, right: 99 }]);
    });

  test("Calls in JavaScript are under way at once, eight of them, and each gets its own answer", async () => {
    let waiting: (() => void)[] = [];
    let most = 0;
    // The first of them waits for the eighth.
    const together: typeof echo = (name, { at }) =>
      new Promise((resolve) => {
        waiting.push(() => resolve({ status: "success", text: `${name}${JSON.stringify(at)}` }));
        most = Math.max(most, waiting.length);
        if (waiting.length < 8) return;
        const full = waiting;
        waiting = [];
        setImmediate(() => full.forEach((answer) => answer()));
      });
    const code =
      "const all = await Promise.all(Array.from({ length: 80 }, (_, at) => tools.x({ at })));\nconsole.log(all.every((text, at) => text === 'x' + at));";
    assert.equal((await run({ code, language: "js" }, { callTool: together })).text, "true\n");
    assert.equal(most, 8);
  });

  test("Threads in Python call tools one after another, and each gets its own answer", async () => {
    const code =
      "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(8) as pool:\n    print(list(pool.map(lambda at: int(tools.add(left=at, right=1)), range(50))) == list(range(1, 51)))";
    assert.equal((await run({ code })).text, "True\n");
  });

  for (const [language, code] of [
    ["python", "try:\n    tools.broken()\nexcept ToolError as error:\n    print('caught', error)"],
    ["js", "try { await tools.broken() } catch (error) { console.log('caught', error.message, error instanceof ToolError) }"],
  ] as const)
    test(`A tool that fails is an error in ${language} that code can catch`, async () => {
      assert.match((await run({ code, language })).text, /^caught it is broken/);
    });

  for (const [what, code, text, language] of [
    [
      "an error that is not caught",
      "print('first')\ntools.broken()",
      /exit code 1\nfirst\nTraceback[\s\S]*code\.py[\s\S]*ToolError: it is broken$/,
      "python",
    ],
    ["an error that is not caught", "await tools.broken();", /exit code 1\n[\s\S]*ToolError: it is broken/, "js"],
    ["arguments that are no JSON", "tools.add(left={1}, right=2)", /TypeError/, "python"],
    ["arguments by position", "tools.add(1, 2)", /TypeError/, "python"],
    ["code that does not parse", "print(", /SyntaxError/, "python"],
    ["an exit", "import sys\nsys.exit(3)", /exit code 3/, "python"],
    ["output without end", "while True: print('x' * 1000)", /wrote more than \d+ bytes and was ended/, "python"],
    [
      "a call without end",
      "import os\nos.write(1, b'\\n\\x1e\\x02')\nwhile True: os.write(1, b'x' * 65536)",
      /a call of it has more than 1048576 bytes/,
      "python",
    ],
    ["an unknown language", "", /runs python, js and ts, not cobol/, "cobol"],
    [
      "a forked process that calls",
      "import os\nif os.fork() == 0:\n    tools.add(left=1, right=1)\nelse:\n    os.wait()\n    raise SystemExit(1)",
      /Only the first process calls tools/,
      "python",
    ],
  ] as const)
    test(`With ${what} in ${language} the result is an error that says so`, async () => {
      const result = await run({ code, language });
      assert.equal(result.status, "error", result.text);
      assert.match(result.text, text);
    });

  test("A line that looks like a call and is none is answered by an error, and calls nothing", async () => {
    for (const line of ["nothing", "null", "[]", '{"name": 7, "arguments": {}}', '{"name": "x", "arguments": []}', '{"name": "x"}']) {
      const code = `import os\nos.write(1, b'\\n\\x1e\\x02' + ${JSON.stringify(line)}.encode() + b'\\n')\nprint(tools._answers.readline())`;
      const result = await run({ code });
      assert.match(result.text, /"status":"error","text":"It was not called/);
      assert.deepEqual(calls, []);
    }
  });

  test("What code reads is empty, and bytes that are no text come out as such", async () => {
    const code = "import sys\nprint(repr(sys.stdin.read()), tools.x())\nsys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff\\x00\\xfe')";
    assert.equal((await run({ code })).text, "'' x\n\ufffd\u0000\ufffd");
  });

  test("It has no secrets of the agent", async () => {
    const result = await run({ code: "import os\nprint(dict(os.environ))" }, { callTool: echo, secrets: { TOKEN: "s3cret-token" } });
    assert.equal(result.status, "success");
    assert.doesNotMatch(result.text, /TOKEN|s3cret/);
  });

  test("Code that ends leaves no call under way", async () => {
    let isGivenUp = false;
    const never: typeof echo = (_name, _input, signal) =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          isGivenUp = true;
          reject(signal.reason as Error);
        }),
      );
    const result = await run(
      { code: "void tools.x().catch(() => 0); setTimeout(() => process.exit(0), 50);", language: "js" },
      { callTool: never },
    );
    assert.equal(isGivenUp, true);
    assert.equal(result.status, "success");
  });

  test("Code that is given up in the middle of a call ends, and so does the call", async () => {
    const giveUp = new AbortController();
    const never: typeof echo = (_name, _input, signal) => {
      setImmediate(() => giveUp.abort(new Error("given up")));
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    };
    await assert.rejects(run({ code: "tools.x()" }, { callTool: never, signal: giveUp.signal }), /given up/);
  });

  test("Code that reads none of its answers can be given up", async () => {
    const giveUp = new AbortController();
    let made = 0;
    const large: typeof echo = () => {
      if (++made === 8) setImmediate(() => giveUp.abort(new Error("given up")));
      return Promise.resolve({ status: "success", text: "x".repeat(200_000) });
    };
    const code = `import os, time\nfor at in range(100):\n    os.write(1, b'\\n\\x1e\\x02{"name": "x", "arguments": {}}\\n')\ntime.sleep(600)`;
    await assert.rejects(run({ code }, { callTool: large, signal: giveUp.signal }), /given up/);
    assert.equal(made, 8);
  });

  test("When the run is over in the middle the code ends with it", async () => {
    const over: typeof echo = () => Promise.reject(new Error("The run is over"));
    await assert.rejects(run({ code: "tools.x()\nwhile True: pass" }, { callTool: over }), /The run is over/);
  });

  test("It is made once, whatever its owner says", () => {
    assert.equal(runCodeWithTools({ ...record, metadata_: { effect: "readOnly" } }, sandboxes).effect, "once");
  });

  test("Outside of a run there are no tools to call", async () => {
    assert.match((await run({ code: "print(1)" }, {})).text, /works in the conversation of an agent only/);
  });
});
