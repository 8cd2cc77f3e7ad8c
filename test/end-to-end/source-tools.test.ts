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
