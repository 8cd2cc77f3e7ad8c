import assert from "node:assert/strict";
import { test } from "node:test";
import {
  afterCall,
  allowedTools,
  allowsParallelCalls,
  defaultToolRules,
  parseToolRules,
  type PastCall,
  presetArguments,
  renderToolRules,
  requiresApproval,
  type ToolRule,
  ToolRuleError,
  uncalledRequired,
} from "./tool-rules.ts";

const available = ["a", "b", "c", "d"];

function calls(...names: readonly string[]): PastCall[] {
  return names.map((name) => ({ name, output: "" }));
}

function said(name: string, output: string): PastCall[] {
  return [{ name, output }];
}

const first: ToolRule = { type: "run_first", tool_name: "a", args: { x: 1 } };
const second: ToolRule = { type: "run_first", tool_name: "b" };
const children: ToolRule = {
  type: "constrain_child_tools",
  tool_name: "a",
  children: ["b", "c"],
  child_arg_nodes: [{ name: "b", args: { y: 2 } }],
};
const parent: ToolRule = { type: "parent_last_tool", tool_name: "a", children: ["b"] };
const twice: ToolRule = { type: "max_count_per_step", tool_name: "a", max_count_limit: 2 };
const conditional: ToolRule = {
  type: "conditional",
  tool_name: "a",
  child_output_mapping: { yes: "b", "1": "c", True: "d" },
  default_child: "c",
};
const strict: ToolRule = { ...conditional, default_child: null, require_output_mapping: true };
const open: ToolRule = { ...conditional, default_child: null };

for (const [what, rules, past, allowed] of [
  ["no rules", [], calls(), available],
  ["run_first before any call", [first, second], calls(), ["a", "b"]],
  ["run_first after a call", [first, second], calls("c"), available],
  ["children after their parent", [children], calls("a"), ["b", "c"]],
  ["children after another tool", [children], calls("a", "b"), available],
  ["a parent that was not called", [parent], calls(), ["a", "c", "d"]],
  ["a parent that was called last", [parent], calls("a"), ["b"]],
  ["a count that is not reached", [twice], calls("a", "b"), available],
  ["a count that is reached", [twice], calls("a", "b", "a"), ["b", "c", "d"]],
  ["an output that maps", [conditional], said("a", "yes"), ["b"]],
  ["a number however it is written", [conditional], said("a", " 1.0 "), ["c"]],
  ["a boolean however it is written", [conditional], said("a", "true"), ["d"]],
  ["an output that maps to the default", [conditional], said("a", "no"), ["c"]],
  ["an output that must map and does not", [strict], said("a", "no"), []],
  ["an output that need not map", [open], said("a", "no"), available],
  ["an empty output", [open], said("a", ""), available],
  ["several rules together", [children, twice, parent], calls("a"), ["b"]],
  ["rules about tools that there are not", [{ ...first, tool_name: "z" }], calls(), []],
] as const)
  test(`With ${what} the tools ${JSON.stringify(allowed)} may be called`, () =>
    assert.deepEqual(allowedTools(rules, available, past), allowed));

const exit: ToolRule = { type: "exit_loop", tool_name: "a" };
const must: ToolRule = { type: "required_before_exit", tool_name: "b" };
for (const [what, rules, past, outcome] of [
  ["nothing was called", [exit], calls(), "default"],
  ["an exit tool was called", [exit], calls("b", "a"), "end"],
  ["an exit tool was called and a required one was not", [exit, must], calls("a"), "continue"],
  ["an exit tool was called after the required one", [exit, must], calls("b", "a"), "end"],
  ["the required tool is not there", [exit, { ...must, tool_name: "z" }], calls("a"), "end"],
  ["a continue tool was called", [{ type: "continue_loop", tool_name: "a" }], calls("a"), "continue"],
  ["a tool with children was called", [children], calls("a"), "continue"],
  ["a tool without rules was called", [exit], calls("b"), "default"],
] as const)
  test(`When ${what} the loop's next is ${outcome}`, () => assert.equal(afterCall(rules, available, past), outcome));

test("Required tools are those available that were not called, each once", () => {
  assert.deepEqual(uncalledRequired([must, must, { ...must, tool_name: "c" }, { ...must, tool_name: "z" }], available, calls("c")), ["b"]);
});

test("Rules set arguments for the first call and for a child of the last", () => {
  assert.deepEqual(presetArguments([first, children], "a", []), { x: 1 });
  assert.equal(presetArguments([first, children], "a", calls("b")), undefined);
  assert.deepEqual(presetArguments([first, children], "b", calls("a")), { y: 2 });
  assert.equal(presetArguments([first, children], "c", calls("a")), undefined);
});

test("Approval alone leaves parallel calls on, any other rule turns them off", () => {
  const approval: ToolRule = { type: "requires_approval", tool_name: "a" };
  assert.equal(allowsParallelCalls([]), true);
  assert.equal(allowsParallelCalls([approval]), true);
  assert.equal(allowsParallelCalls([approval, exit]), false);
  assert.deepEqual(
    [requiresApproval([approval], "a"), requiresApproval([approval], "b"), requiresApproval([exit], "a")],
    [true, false, false],
  );
});

test("Rules render in Letta's order and words, and a rule's own template takes the place of them", () => {
  assert.equal(
    renderToolRules([must, exit, parent, twice, conditional, children, { type: "continue_loop", tool_name: "d" }, first]),
    [
      "<tool_rule>\nd requires continuing your response when called\n</tool_rule>",
      "<tool_rule>\na: max 2 use(s) per response\n</tool_rule>",
      "<tool_rule>\na will determine which tool to use next based on its output\n</tool_rule>",
      "<tool_rule>\nAfter using a, you must use one of these tools: b, c\n</tool_rule>",
      "<tool_rule>\nb can only be used after a\n</tool_rule>",
      "<tool_rule>\na ends your response (yields control) when called\n</tool_rule>",
      "<tool_rule>b must be called before ending the conversation</tool_rule>",
    ].join("\n"),
  );
  assert.equal(
    renderToolRules([{ ...children, prompt_template: "{{ tool_name }}: {{children | join(' or ')}} {{ other }} $&" }]),
    "a: b or c {{ other }} $&",
  );
  assert.equal(renderToolRules([first, { type: "requires_approval", tool_name: "a" }]), undefined);
});

test("Agents of the older types end on send_message and go on after memory tools; letta_v1_agent has no rules", () => {
  assert.deepEqual(defaultToolRules("letta_v1_agent", ["send_message", "memory_insert"]), []);
  assert.deepEqual(defaultToolRules("memgpt_agent", ["send_message", "memory_insert", "mine"]), [
    { tool_name: "send_message", type: "exit_loop" },
    { tool_name: "memory_insert", type: "continue_loop" },
  ]);
});

for (const [rule, expected] of [
  [{ type: "exit" }, /tool_rules\[0\]: type is one of run_first.*not "exit"/],
  [{ type: "exit_loop" }, /tool_name must be the name/],
  [{ type: "constrain_child_tools", tool_name: "a" }, /children must be a list/],
  [{ type: "parent_last_tool", tool_name: "a", children: [1] }, /children must be a list/],
  [{ type: "conditional", tool_name: "a", child_output_mapping: {} }, /at least one output/],
  [{ type: "max_count_per_step", tool_name: "a", max_count_limit: -1 }, /max_count_limit/],
] as const)
  test(`The rule ${JSON.stringify(rule)} is refused`, () =>
    assert.throws(
      () => parseToolRules([rule]),
      (error) => error instanceof ToolRuleError && expected.test(error.message),
    ));

test("Good rules come back as they are", () => {
  const rules = [first, children, parent, twice, conditional, exit, must];
  assert.deepEqual(parseToolRules(rules), rules);
});
