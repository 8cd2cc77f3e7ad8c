/** An agent calls tools of its owner's source code, in a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import Letta from "@letta-ai/letta-client";
import { ServerProcess } from "../../examples/start-server.ts";
import { ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import { bubblewrapMissing } from "../../src/sandbox/testing.ts";

test(
  "An agent calls tools in Python and TypeScript, with its secrets, and no secret comes out",
  { skip: bubblewrapMissing ?? false },
  async () => {
    await using provider = await ScriptedProvider.start(({ lastMessage }) => {
      const [, tool, rest] = /^call (\w+) (.*)$/.exec(lastMessage.text) ?? [];
      if (tool === undefined) return { text: `It gave: ${lastMessage.text}` };
      return { toolCalls: [{ name: tool, arguments: JSON.parse(rest!) as { readonly [name: string]: string } }] };
    });
    await using server = await ServerProcess.start({ OPENAI_API_KEY: "key", OPENAI_API_BASE: `${provider.url}/v1` });
    const letta = new Letta({ baseURL: server.url, apiKey: "none", maxRetries: 0 });
    const sign = await letta.tools.create({
      source_code:
        'import base64, os\n\ndef sign(text: str) -> str:\n    """Signs.\n\n    Args:\n        text (str): What.\n    """\n    key = os.environ["SIGNING_KEY"]\n    return text + key + base64.b64encode(key.encode()).decode()\n',
    });
    const add = await letta.tools.create({
      source_type: "typescript",
      source_code: "export function add(left: number, right: number): number { return left + right; }",
      json_schema: {
        name: "add",
        description: "Adds.",
        parameters: { type: "object", properties: { left: { type: "number" }, right: { type: "number" } }, required: ["left", "right"] },
      },
    });
    const agent = await letta.agents.create({
      model: "openai/scripted",
      tool_ids: [sign.id, add.id],
      secrets: { SIGNING_KEY: "s3cret-key" },
    });
    const results = async (input: string): Promise<readonly (readonly [string, unknown])[]> => {
      const { messages } = await letta.agents.messages.create(agent.id, { input });
      return messages.flatMap((message) =>
        message.message_type === "tool_return_message" ? [[message.status, message.tool_return] as const] : [],
      );
    };
    assert.deepEqual(await results('call add {"left": 40, "right": 2}'), [["success", "42"]]);
    const [[status, text]] = (await results('call sign {"text": "x"}')) as [[string, string]];
    assert.equal(status, "success");
    assert.match(text, /^x\*{8}/);
    assert.doesNotMatch(JSON.stringify(provider.requests.map(({ body }) => body)), /s3cret-key|czNjcmV0LWtle/);
    const ran = await letta.agents.tools.run("sign", { agent_id: agent.id, args: { text: "y" } });
    assert.match(String(ran.func_return), /^y\*{8}/);
  },
);

test(
  "Code of an agent calls its tools in one step, changes memory, is refused what a person must approve, and shows what it writes",
  { skip: bubblewrapMissing ?? false },
  async () => {
    await using provider = await ScriptedProvider.start(({ lastMessage }) => {
      const code = /^run ([\s\S]*)$/.exec(lastMessage.text)?.[1];
      return code === undefined ? { text: lastMessage.text } : { toolCalls: [{ name: "run_code_with_tools", arguments: { code } }] };
    });
    await using server = await ServerProcess.start({ OPENAI_API_KEY: "key", OPENAI_API_BASE: `${provider.url}/v1` });
    const letta = new Letta({ baseURL: server.url, apiKey: "none", maxRetries: 0 });
    const sources = {
      add: 'import sys\n\ndef add(left: int, right: int) -> int:\n    """Adds.\n\n    Args:\n        left (int): One.\n        right (int): Other.\n    """\n    print("adding", file=sys.stderr)\n    return left + right\n',
      note: 'def note(text: str, agent_state: "AgentState") -> str:\n    """Notes.\n\n    Args:\n        text (str): What.\n    """\n    agent_state.memory.update_block_value("human", text)\n    return agent_state.name\n',
      wipe: 'def wipe() -> str:\n    """Wipes."""\n    return "wiped"\n',
    };
    const tools = await Promise.all(Object.values(sources).map((source_code) => letta.tools.create({ source_code })));
    const [withTools] = (await letta.tools.list({ name: "run_code_with_tools" })).items;
    const agent = await letta.agents.create({
      name: "noter",
      model: "openai/scripted",
      tool_ids: [...tools, withTools!].map(({ id }) => id),
      tool_rules: [{ type: "requires_approval", tool_name: "wipe" }],
      memory_blocks: [{ label: "human", value: "" }],
    });
    const code = [
      "n = 0",
      "for at in range(5):",
      "    n = int(tools.add(left=n, right=at))",
      "print(n, tools.note(text=f'The sum is {n}.'))",
      "try:",
      "    tools.wipe()",
      "except ToolError as error:",
      "    print(error)",
    ].join("\n");
    const { messages } = await letta.agents.messages.create(agent.id, { input: `run ${code}` });
    const [returned] = messages.flatMap((message) => (message.message_type === "tool_return_message" ? [message] : []));
    assert.ok(returned !== undefined);
    assert.equal(returned.status, "success", returned.tool_return);
    assert.match(returned.tool_return, /^10 noter\nwipe was not called: it waits for a person/);
    assert.equal((await letta.agents.blocks.retrieve("human", { agent_id: agent.id })).value, "The sum is 10.");
    assert.equal(provider.requests.length, 2);

    const { run_id } = returned;
    const effects = (await (await fetch(`${server.url}/v1/runs/${run_id}/effects`)).json()) as readonly {
      readonly effect_id: string;
      readonly tool_name: string;
      readonly state: string;
    }[];
    assert.deepEqual(
      effects.map(({ tool_name, state }) => `${tool_name} ${state}`),
      ["run_code_with_tools succeeded", ...Array.from({ length: 5 }, () => "add succeeded"), "note succeeded"],
    );
    const outer = effects[0]!.effect_id;
    assert.deepEqual(
      effects.slice(1).map(({ effect_id }) => effect_id),
      Array.from({ length: 6 }, (_, at) => `${outer}:${at + 1}`),
    );

    const ran = await letta.agents.tools.run("add", { agent_id: agent.id, args: { left: 1, right: 2 } });
    assert.deepEqual([ran.status, ran.func_return, ran.stdout, ran.stderr], ["success", "3", [], ["adding\n"]]);
  },
);

test(
  "After kill -9 in the middle of a call of code nothing is run again, and what had started is unknown",
  { skip: bubblewrapMissing ?? false },
  async () => {
    await using provider = await ScriptedProvider.start(({ lastMessage }) =>
      lastMessage.text === "Go"
        ? { toolCalls: [{ name: "run_code_with_tools", arguments: { code: "print(tools.first())\nprint(tools.pay())" } }] }
        : { text: `It gave: ${lastMessage.text}` },
    );
    await using server = await ServerProcess.start({ OPENAI_API_KEY: "key", OPENAI_API_BASE: `${provider.url}/v1` });
    const letta = new Letta({ baseURL: server.url, apiKey: "none", maxRetries: 0 });
    const first = await letta.tools.create({ source_code: 'def first():\n    """Is first."""\n    return 1\n' });
    const pay = await letta.tools.create({ source_code: 'def pay():\n    """Pays."""\n    import time\n    time.sleep(600)\n' });
    await letta.patch(`/v1/tools/${pay.id}`, { body: { metadata_: { effect: "once" } } });
    const [withTools] = (await letta.tools.list({ name: "run_code_with_tools" })).items;
    const agent = await letta.agents.create({ model: "openai/scripted", tool_ids: [first.id, pay.id, withTools!.id] });
    const run = await letta.agents.messages.createAsync(agent.id, { input: "Go" });
    const effects = async (): Promise<readonly string[]> => {
      const found = await letta.get<readonly { readonly tool_name: string; readonly state: string }[]>(`/v1/runs/${run.id}/effects`);
      return found.map(({ tool_name, state }) => `${tool_name} ${state}`);
    };
    while (!(await effects()).includes("pay started")) await new Promise(setImmediate);
    await server.kill();
    await server.restart();
    for await (const event of await letta.runs.messages.stream(run.id, { starting_after: 0 })) void event;
    assert.deepEqual(await effects(), ["run_code_with_tools unknown", "first succeeded", "pay unknown"]);
    const { messages } = provider.requests.at(-1)!.body as { readonly messages: readonly { readonly content: string }[] };
    assert.match(messages.at(-1)!.content, /outcome of run_code_with_tools is unknown/);
    assert.equal(provider.requests.length, 2);
  },
);
