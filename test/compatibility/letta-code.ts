/** What letta-code does with a Kelpie: each case runs the released program as a person or a script does, and looks at what came of it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Letta from "@letta-ai/letta-client";
import type { ServerProcess } from "../../examples/start-server.ts";
import type { ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import type { RequestLog } from "./request-log.ts";
import { type LettaCodeRun, type Outcome, runLettaCode, workFolder } from "./run-letta-code.ts";
import { countTo, type ScriptedAnswers } from "./scripted-answers.ts";

export interface LettaCodeWorld {
  readonly version: string;
  /** `letta.js` */
  readonly program: string;
  /** The home and the working directory of the program are made in it. */
  readonly folder: string;
  readonly server: ServerProcess;
  readonly log: RequestLog;
  readonly answers: ScriptedAnswers;
  readonly provider: ScriptedProvider;
}

export interface Case {
  readonly name: string;
  /** Gives a remark for the table, if there is one to make. */
  run(): Promise<string | void>;
}

export function lettaCodeCases({ version, program, folder, server, log, answers, provider }: LettaCodeWorld): readonly Case[] {
  const letta = new Letta({ baseURL: server.url, apiKey: "none", maxRetries: 5 });
  const work = workFolder(folder);
  const isOld = version.startsWith("0.25.");
  writeFileSync(join(work, "note.txt"), "The number is 4711\n");

  const lettaCode = (args: readonly string[], options: Partial<LettaCodeRun> = {}): Promise<Outcome> =>
    runLettaCode({ program, home: folder, url: log.url, args, ...options });

  /** One prompt without a terminal; fails if the program does. */
  async function ask(prompt: string, ...args: string[]): Promise<string> {
    const { code, output, notes } = await lettaCode(["-p", prompt, ...args]);
    assert.equal(code, 0, `${output}\n${notes}`);
    return output.trim();
  }

  async function newestAgent(): Promise<string> {
    const [agent] = (await letta.agents.list({ limit: 1 })).items;
    return agent!.id;
  }

  async function newConversation(): Promise<string> {
    return (await letta.conversations.create({ agent_id: await newestAgent() })).id;
  }

  /** What was said, oldest first: kind and text. */
  async function history(conversation: string): Promise<[string, string][]> {
    const found: [string, string][] = [];
    const agent = conversation === "default" ? { agent_id: await newestAgent() } : {};
    for await (const message of letta.conversations.messages.list(conversation, { order: "asc", ...agent })) {
      const content = "content" in message ? message.content : "tool_return" in message ? message.tool_return : "";
      found.push([message.message_type ?? "", typeof content === "string" ? content : JSON.stringify(content ?? "")]);
    }
    return found;
  }

  /** Kills the server after ten pieces of a long answer, and starts it again at once. */
  async function killInMidAnswer(): Promise<void> {
    await log.waitFor(({ path, answer }) => path.endsWith("/messages") && answer.split("assistant_message").length > 10);
    await server.kill();
    await server.restart();
  }

  async function completed(conversation: string): Promise<void> {
    for (;;) {
      const [run] = (await letta.runs.list({ conversation_id: conversation, limit: 1 })).items;
      if (run?.status === "completed") return;
      assert.equal(run?.status, "running");
      await sleep(100);
    }
  }

  async function assertWholeAnswer(conversation: string): Promise<void> {
    const answers = (await history(conversation)).filter(([kind]) => kind === "assistant_message");
    assert.deepEqual(
      answers.map(([, text]) => text.trim()),
      [countTo(60).trim()],
      "the answer is in the history whole and once",
    );
  }

  return [
    {
      name: "a new agent, one prompt",
      async run() {
        log.requests = [];
        assert.equal(await ask("hello", "--new-agent"), "A scripted answer.");
        assert.deepEqual(log.lines, newAgentRequests[version]);
        const agent = await letta.agents.retrieve(await newestAgent(), { include: ["agent.blocks", "agent.tags", "agent.tools"] });
        assert.match(agent.system, /Letta/);
        assert.deepEqual(agent.tags, ["origin:letta-code"]);
        assert.deepEqual(agent.blocks.map(({ label }) => label).toSorted(), ["human", "persona"]);
        assert.deepEqual(agent.tools.map(({ name }) => name).toSorted(), ["fetch_webpage", "web_search"]);
      },
    },
    {
      name: "the same folder again, as stream-json",
      async run() {
        const agent = await newestAgent();
        const lines = (await ask("hello", "--output-format", "stream-json"))
          .split("\n")
          .map((line) => JSON.parse(line) as Record<string, string>);
        assert.equal(lines[0]!["agent_id"], agent);
        const kinds = lines.map((line) => line["subtype"] ?? line["message_type"]!);
        assert.deepEqual([...new Set(kinds)], ["init", "assistant_message", "stop_reason", "usage_statistics", "success"]);
        assert.ok(kinds.filter((kind) => kind === "assistant_message").length > 1, "it came in pieces");
        assert.equal(lines.at(-1)!["result"], "A scripted answer.");
      },
    },
    {
      name: "tools of the client: Read, Bash, both at once",
      async run() {
        const read = `CALL Read {"file_path":"${join(work, "note.txt")}"}`;
        assert.match(await ask(read, "--yolo"), /The tool said: .*The number is 4711/);
        await ask('CALL Bash {"command":"echo $((6*7)) > made.txt","description":"Makes a file"}', "--yolo");
        assert.equal(readFileSync(join(work, "made.txt"), "utf8"), "42\n");
        const both = await ask(`${read}\nCALL Bash {"command":"echo $((6*7))","description":"Says it"}`, "--yolo");
        assert.match(both, /4711[^]*42/);
      },
    },
    {
      name: "a tool that is not approved",
      async run() {
        const file = join(work, "denied.txt");
        const said = await ask(`CALL Write {"file_path":"${file}","content":"x"}`, "--permission-mode", "default");
        assert.match(said, /request to call tool denied\. User reason: Tool requires approval/);
        assert.equal(existsSync(file), false);
      },
    },
    {
      name: "arguments that the client refuses",
      async run() {
        assert.match(await ask('CALL Read {"file":"x"}', "--yolo"), /denied\. User reason: .*missing required parameter: file_path/);
      },
    },
    {
      name: "the agent's default conversation",
      async run() {
        const agent = await newestAgent();
        assert.equal(await ask("hello", "--agent", agent, "--conversation", "default"), "A scripted answer.");
        assert.deepEqual((await history("default")).at(-1), ["assistant_message", "A scripted answer."]);
      },
    },
    {
      name: "letta messages: list, search, transcript",
      async run() {
        const agent = await newestAgent();
        const json = async (...args: string[]): Promise<unknown> => {
          const { code, output, notes } = await lettaCode(["messages", ...args]);
          assert.equal(code, 0, notes);
          return JSON.parse(output);
        };
        assert.equal(((await json("list", "--agent", agent, "--limit", "2")) as unknown[]).length >= 2, true);
        assert.match(JSON.stringify(await json("search", "--query", "4711", "--agent", agent)), /The number is 4711/);
        const conversation = await newConversation();
        for (const question of ["first", "second", "third"]) await ask(question, "--conversation", conversation);
        // In pages of two, so that it must turn them.
        const transcript = JSON.stringify(await json("transcript", "--conversation", conversation, "--limit", "2"));
        for (const question of ["first", "second", "third"]) assert.ok(transcript.includes(question), `${question} is missing`);
      },
    },
    {
      name: "two at once in one conversation",
      async run() {
        const conversation = await newConversation();
        log.requests = [];
        const first = ask("HOLD", "--conversation", conversation);
        await log.waitFor(({ method, path }) => method === "POST" && path.endsWith("/messages"));
        const second = ask("hello", "--conversation", conversation);
        await log.waitFor(({ status }) => status === 409);
        answers.release();
        assert.equal(await first, "A scripted answer.");
        assert.equal(await second, "A scripted answer.");
        return "the second waits, asks again, is answered";
      },
    },
    {
      name: "the client is killed while its tool runs",
      async run() {
        const agent = ["--agent", await newestAgent(), "--conversation", "default"];
        // No plain `sleep`: letta-code refuses one in the foreground.
        const wait = `touch started.txt; '${process.execPath}' -e 'setTimeout(() => {}, 20_000)'`;
        const command = `CALL Bash ${JSON.stringify({ command: wait, description: "Waits" })}`;
        const killed = lettaCode(["-p", command, "--yolo", ...agent], {
          started: (child) =>
            void (async () => {
              while (!existsSync(join(work, "started.txt"))) await sleep(50);
              child.kill("SIGKILL");
            })(),
        });
        const { code, output, notes } = await killed;
        assert.equal(code, null, `It was to be killed, and ended: ${output}\n${notes}`);
        await ask("Are you there?", ...agent);
        assert.deepEqual(
          (await history("default")).slice(-5).map(([kind]) => kind),
          ["approval_request_message", "approval_response_message", "user_message", "tool_return_message", "assistant_message"],
        );
        // A provider refuses a result that does not come right after its call.
        const content = (provider.requests.at(-1)!.body["messages"] as { content: { type: string }[] }[]).at(-1)!.content;
        assert.equal(content[0]!.type, "tool_result");
        return "the call that it left open is answered, then the message";
      },
    },
    {
      name: "the server is killed in mid-answer, one prompt",
      async run() {
        const conversation = await newConversation();
        log.requests = [];
        const running = lettaCode(["-p", "SLOW 60", "--conversation", conversation]);
        await killInMidAnswer();
        const { code, output, notes } = await running;
        if (!isOld) {
          assert.equal(code, 0, notes);
          assert.equal(output.trim(), countTo(60).trim());
        }
        await completed(conversation);
        await assertWholeAnswer(conversation);
        if (!isOld) return;
        // It resumes only in its other modes; the run goes on without it.
        assert.equal(code, 1);
        assert.match(notes, /Unexpected stop reason/);
        return "this version does not reconnect here; the run goes on, and the answer is in the history";
      },
    },
    {
      name: "the server is killed in mid-answer, two-way mode",
      async run() {
        const conversation = await newConversation();
        log.requests = [];
        const input = `${JSON.stringify({ type: "user", message: { role: "user", content: "SLOW 60" } })}\n`;
        const formats = ["--input-format", "stream-json", "--output-format", "stream-json"];
        const running = lettaCode(["-p", ...formats, "--conversation", conversation], { input });
        await killInMidAnswer();
        const { output, notes } = await running;
        const results = output.split("\n").filter((line) => line.includes('"type":"result"'));
        assert.equal(results.length, 1, `${output.slice(-2_000)}\n${notes}`);
        const result = JSON.parse(results[0]!) as { readonly subtype: string; readonly result: string };
        assert.deepEqual([result.subtype, result.result.trim()], ["success", countTo(60).trim()]);
        assert.ok(log.lines.includes("200 POST /v1/runs/{run}/stream"), log.lines.join("\n"));
        await assertWholeAnswer(conversation);
        return "follows the run from the last piece that it had";
      },
    },
  ];
}

/** A server that asks for a key: none, a wrong one, the right one. */
export function lettaCodeKeyCase({ program, folder, url, key }: { program: string; folder: string; url: string; key: string }): Case {
  const attempt = async (given: object): Promise<number | null> =>
    (await runLettaCode({ program, home: join(folder, "keyed"), url, args: ["-p", "hello", "--new-agent"], ...given })).code;
  return {
    name: "a server that asks for a key",
    async run() {
      assert.equal(await attempt({}), 1);
      assert.equal(await attempt({ key: `${key}-wrong` }), 1);
      assert.equal(await attempt({ key }), 0);
      return "none and a wrong one are refused";
    },
  };
}

/** What each version asks for from its start to its end. */
const newAgentRequests: Readonly<Record<string, readonly string[]>> = {
  "0.25.9": [
    "200 GET /v1/agents/?limit=1",
    "200 GET /v1/models/",
    "200 POST /v1/agents/",
    "200 GET /v1/agents/{agent}?include=agent.managed_group",
    "200 POST /v1/conversations/?agent_id={agent}",
    "200 GET /v1/conversations/{conv}",
    "200 POST /v1/conversations/{conv}/messages",
  ],
  "0.30.28": [
    "404 GET /v1/models/catalog",
    "200 GET /v1/models/",
    "200 POST /v1/agents/",
    "200 GET /v1/agents/{agent}?include=agent.tags",
    "200 POST /v1/conversations/?agent_id={agent}",
    "200 GET /v1/conversations/{conv}",
    "200 POST /v1/conversations/{conv}/messages",
  ],
  "0.32.18": [
    "200 GET /v1/models/",
    "200 POST /v1/agents/",
    "200 GET /v1/agents/{agent}?include=agent.tags",
    "200 GET /v1/agents/{agent}/secrets",
    "200 POST /v1/conversations/?agent_id={agent}",
    "200 GET /v1/conversations/{conv}",
    "200 GET /v1/models/",
    "200 GET /v1/agents/{agent}/mcp-servers",
    "200 GET /v1/conversations/{conv}",
    "200 POST /v1/conversations/{conv}/messages",
    "200 GET /v1/agents/{agent}/repositories",
  ],
};
