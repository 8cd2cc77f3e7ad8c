import assert from "node:assert/strict";
import { test } from "node:test";
import { lineNumberWarning, memoryVariant, type MemoryView, renderBlocks, renderMemory, renderSystemPrompt } from "./render-memory.ts";

const human = { label: "human", value: "Ada\nLondon 😀", limit: 100_000, description: "About the user", read_only: false };
const persona = { label: "persona", value: "", limit: 50, description: null, read_only: true };
const view: MemoryView = {
  blocks: [human, persona],
  variant: "standard",
  agentId: "agent-1",
  conversationId: "default",
  compiledAt: Date.UTC(2026, 0, 31, 15, 4, 5),
  timezone: "America/New_York",
  previousMessages: 42,
  archivalPassages: 0,
};
const metadata = `<memory_metadata>
- AGENT_ID: agent-1
- CONVERSATION_ID: default
- System prompt last recompiled: 2026-01-31 10:04:05 AM EST-0500
- 42 previous messages between you and the user are stored in recall memory (use tools to access them)
</memory_metadata>`;

test("Blocks render as Letta renders them", () => {
  assert.equal(
    renderBlocks([human, persona], "standard"),
    `<memory_blocks>
The following memory blocks are currently engaged in your core memory unit:

<human>
<description>
About the user
</description>
<metadata>
- chars_current=12
- chars_limit=100000
</metadata>
<value>
Ada
London 😀
</value>
</human>

<persona>
<description>

</description>
<metadata>
- read_only=true
- chars_current=0
- chars_limit=50
</metadata>
<value>

</value>
</persona>

</memory_blocks>`,
  );
});

test("The line-numbered form warns about the numbers and puts one before each line", () => {
  const text = renderBlocks([human], "lineNumbered");
  assert.ok(text.includes(`</metadata>\n<warning>\n${lineNumberWarning}\n</warning>\n<value>\n1→ Ada\n2→ London 😀\n</value>\n`));
  assert.ok(renderBlocks([persona], "lineNumbered").includes("<value>\n</value>"));
});

test("Without blocks, or for agents that do not see them, nothing is rendered", () => {
  assert.equal(renderBlocks([], "standard"), "");
  assert.equal(renderBlocks([human], "none"), "");
});

test("Rules and metadata follow the blocks, with archival memory only where there is some", () => {
  const blocks = renderBlocks(view.blocks, "standard");
  assert.equal(renderMemory(view), `${blocks}\n\n${metadata}`);
  const more = renderMemory({ ...view, toolRules: "<tool_rule>\nx\n</tool_rule>", archivalPassages: 3, archivalTags: ["a", "b"] });
  assert.match(
    more,
    /<\/memory_blocks>\n\n<tool_usage_rules>\nThe following constraints .*\n\n<tool_rule>\nx\n<\/tool_rule>\n<\/tool_usage_rules>\n\n<memory_metadata>/,
  );
  assert.match(
    more,
    /- 3 total memories you created are stored in archival memory \(use tools to access them\)\n- Available archival memory tags: a, b\n<\/memory_metadata>$/,
  );
});

test("The memory takes the place of {CORE_MEMORY}, or stands after the prompt", () => {
  const memory = renderMemory({ ...view, blocks: [{ ...human, value: "$& $1 {CORE_MEMORY}" }] });
  const odd = { ...view, blocks: [{ ...human, value: "$& $1 {CORE_MEMORY}" }] };
  assert.equal(renderSystemPrompt("Before {CORE_MEMORY} after", odd), `Before ${memory} after`);
  assert.equal(renderSystemPrompt("Be kind.", odd), `Be kind.\n\n${memory}`);
});

for (const [agentType, providerType, variant] of [
  ["letta_v1_agent", "anthropic", "lineNumbered"],
  ["letta_v1_agent", "openai", "standard"],
  ["memgpt_agent", "anthropic", "standard"],
  ["sleeptime_agent", "anthropic", "lineNumbered"],
  ["react_agent", "anthropic", "none"],
  ["workflow_agent", "openai", "none"],
] as const)
  test(`A ${agentType} on ${providerType} sees its blocks as ${variant}`, () =>
    assert.equal(memoryVariant(agentType, providerType), variant));
