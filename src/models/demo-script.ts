/**
 * What the demo model does with a request: a pure function, by patterns. It is no language model and says so.
 *
 * D1. The same request has the same answer.
 * D2. After tool results it reports them and ends: it never calls tools twice for one message of the user.
 */
import { fillRequired, isMemoryEdit, knownLines, type PlannedCall, planEdit, readBlocks, userBlock } from "./demo-memory.ts";
import type { ModelMessage, ModelRequest, ToolDefinition } from "./model.ts";
import { asObject, asText, parseJson, shorten, type WireObject } from "./wire-json.ts";

export interface DemoAnswer {
  readonly text: string;
  readonly calls: readonly PlannedCall[];
}

const countMax = 1_000;
const callsMax = 8;
const resultsMax = 20;
const quotedCharactersMax = 2_000;

const abilities = `I can:
- remember: "Remember that my name is Ada", "Remember that I like tea" (I edit my core memory)
- recall: "What is my name?", "What do you know about me?"
- archive: "Archive: the lighthouse opens at nine" (I write to my archival memory)
- search: "Search for lighthouse" (I search my archive, or this conversation)
- call any tool I am offered: call tool_name {"argument": "value"}
- talk for a while, so that you can interrupt: "Tell me a story", "Count to 200"`;

const introduction =
  "I am Kelpie's demo model, not a language model: I answer by a few fixed patterns, without a network and without a key.";
const howToGetMore =
  "For real answers, configure a model: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or start Ollama, and start Kelpie again.";

export function demoAnswer(request: ModelRequest): DemoAnswer {
  const answer = decide(request);
  const sendMessage = request.tools.find(({ name }) => name === "send_message");
  // Agents with this tool show only what is sent by it.
  if (sendMessage === undefined || answer.text === "" || answer.calls.length > 0) return answer;
  return { text: "", calls: [{ name: sendMessage.name, input: fillRequired(sendMessage, { message: answer.text }) }] };
}

function decide(request: ModelRequest): DemoAnswer {
  const { messages } = request;
  const results = resultsSinceUser(messages);
  if (results.length > 0) return say(results.some(({ name }) => name === "send_message") ? "" : results.map(report).join("\n\n"));
  const text = lastUserText(messages);
  if (isSummaryRequest(request, text)) return say(summary(text));
  const tools = request.toolChoice === "none" ? [] : request.tools;
  for (const [pattern, act] of patterns) {
    const match = pattern.exec(text);
    if (match !== null) return act(match, { messages, tools });
  }
  return say(text === "" ? `${introduction}\n\n${abilities}` : `${introduction} I cannot answer that.\n\n${abilities}\n\n${howToGetMore}`);
}

interface Situation {
  readonly messages: readonly ModelMessage[];
  readonly tools: readonly ToolDefinition[];
}

type Act = (match: RegExpExecArray, situation: Situation) => DemoAnswer;

/** The first that matches acts. */
const patterns: readonly (readonly [RegExp, Act])[] = [
  [/^(?:please )?call [\w-]+\s*(?:\{|$)/i, (match, situation) => callTools(match.input, situation)],
  [/^(?:please )?remember (?:that )?my name is (.+?)[.!]?$/is, (match, situation) => rememberName(match[1]!, situation)],
  [
    /^(?:(?:hi|hello|hey)[,.!]? )?(?:my name is|call me|i am called) ([^\n.!?]+)[.!]?$/i,
    (match, situation) => rememberName(match[1]!, situation),
  ],
  [
    /^(?:please )?remember[: ]+(?:that )?(.+)$/is,
    (match, situation) => remember(`The user said: ${oneLine(match[1]!)}`, undefined, situation),
  ],
  [/\b(?:what(?:'s| is|’s) my name|who am i|do you (?:know|remember) my name)\b/i, (_match, situation) => sayName(situation)],
  [/\bwhat do you (?:know|remember)\b|\bshow (?:me )?your memory\b/i, (_match, situation) => sayKnown(situation)],
  [/^(?:please )?archive(?: that)?[: ]+(.+)$/is, (match, situation) => archive(match[1]!, situation)],
  [
    /^(?:please )?(?:save|add|write|put|store)(?: this| it)? (?:to|in|into) (?:your |the |my )?archiv(?:e|al memory)[: ,]+(.+)$/is,
    (match, situation) => archive(match[1]!, situation),
  ],
  [
    /^(?:please )?(?:search|look)(?: (?:in |through )?(?:your |the |my )?(?:archive|memory|archival memory))? for (.+?)[?.!]?$/is,
    (match, situation) => search(match[1]!, situation),
  ],
  [/^(?:please )?(?:find|look up) (.+?)[?.!]?$/is, (match, situation) => search(match[1]!, situation)],
  [/\bcount to (\d{1,6})\b/i, (match) => say(count(Number(match[1])))],
  [/\bstory\b/i, () => say(story)],
  [
    /^(?:hi|hello|hey|good (?:morning|evening|day))\b|\bhelp\b|\bwhat can you do\b|\bwho are you\b|\bwhat are you\b/i,
    () => say(`${introduction}\n\n${abilities}\n\n${howToGetMore}`),
  ],
  [/\bthank(?:s| you)\b/i, () => say("You are welcome.")],
];

function say(text: string): DemoAnswer {
  return { text, calls: [] };
}

function rememberName(name: string, situation: Situation): DemoAnswer {
  const old = knownLines(situation.messages).findLast((line) => nameIn(line) !== undefined);
  return remember(`The user's name is ${oneLine(name)}`, old, situation);
}

function remember(line: string, old: string | undefined, { messages, tools }: Situation): DemoAnswer {
  const block = userBlock(readBlocks(messages));
  if (knownLines(messages).includes(line)) return say(`I remember that already: ${line}`);
  if (block === undefined) return say("I have no block in my core memory to write that to. Give me one with the label human.");
  const plan = planEdit(tools, block, line, old);
  if (plan === undefined)
    return say(`I would write that to my block ${block.label}, but I am offered no tool that edits it, such as memory_insert.`);
  return { text: "", calls: [plan] };
}

function sayName({ messages }: Situation): DemoAnswer {
  const name = knownLines(messages)
    .map(nameIn)
    .findLast((found) => found !== undefined);
  if (name === undefined) return say('My memory does not say. Tell me: "Remember that my name is Ada".');
  return say(`Your name is ${name}. That is what my memory says.`);
}

function nameIn(line: string): string | undefined {
  return /\b(?:name(?:'s| is|:)|called) +(.+?)[.!]?$/i.exec(line)?.[1];
}

function sayKnown({ messages }: Situation): DemoAnswer {
  const lines = knownLines(messages);
  const block = userBlock(readBlocks(messages));
  if (lines.length === 0) return say(block === undefined ? "I have no block in my core memory." : `My block ${block.label} is empty.`);
  return say(`My memory${block === undefined ? "" : ` (block ${block.label})`} says:\n${lines.map((line) => `- ${line}`).join("\n")}`);
}

function archive(content: string, situation: Situation): DemoAnswer {
  return callOffered(["archival_memory_insert"], () => ({ content: content.trim() }), situation, "write to my archive");
}

function search(query: string, situation: Situation): DemoAnswer {
  return callOffered(["archival_memory_search", "conversation_search"], () => ({ query: unquote(query) }), situation, "search");
}

function callOffered(names: readonly string[], makeInput: () => WireObject, { tools }: Situation, purpose: string): DemoAnswer {
  const tool = names.map((name) => tools.find((offered) => offered.name === name)).find((found) => found !== undefined);
  if (tool === undefined) return say(`I cannot ${purpose}: I am not offered ${names.join(" or ")}.`);
  return { text: "", calls: [{ name: tool.name, input: fillRequired(tool, makeInput()) }] };
}

/** Each line `call name {…}` is a call; they run in parallel. */
function callTools(text: string, { tools }: Situation): DemoAnswer {
  const calls: PlannedCall[] = [];
  const lines = text.split(/\n(?=(?:please )?call )/i).slice(0, callsMax);
  for (const line of lines) {
    const [, name, json] = /^(?:please )?call ([\w-]+)\s*([\s\S]*)$/i.exec(line.trim()) ?? [];
    if (name === undefined) continue;
    const input = json === undefined || json.trim() === "" ? {} : asObject(parseJson(json));
    if (input === undefined) return say(`I cannot call ${name}: what follows its name is not a JSON object.`);
    if (!tools.some((tool) => tool.name === name))
      return say(`I am not offered a tool ${name}, only: ${tools.map((tool) => tool.name).join(", ") || "none"}.`);
    calls.push({ name, input });
  }
  return { text: "", calls };
}

interface Result {
  readonly name: string;
  readonly input: WireObject;
  readonly text: string;
  readonly isError: boolean;
}

/** The results that came after the user's last message, with what was asked. */
function resultsSinceUser(messages: readonly ModelMessage[]): readonly Result[] {
  const since = messages.slice(messages.findLastIndex(({ role }) => role === "user") + 1);
  const calls = since
    .flatMap((message) => (message.role === "assistant" ? message.content : []))
    .filter((part) => part.type === "toolCall");
  return since.flatMap((message) => {
    if (message.role !== "tool") return [];
    const call = calls.find(({ id }) => id === message.toolCallId);
    const packed = unpackResult(message.content);
    return [
      {
        name: call?.name ?? "tool",
        input: asObject(parseJson(call?.argumentsText ?? "")) ?? {},
        text: packed.text,
        isError: message.isError || packed.isError,
      },
    ];
  });
}

/** Letta's packaging of results: `{"status": "OK" | "Failed", "message": …, "time": …}`. */
function unpackResult(content: string): { readonly text: string; readonly isError: boolean } {
  const packed = asObject(parseJson(content));
  if (packed === undefined || !("status" in packed) || !("message" in packed)) return { text: content, isError: false };
  return { text: asText(packed["message"]) ?? JSON.stringify(packed["message"]), isError: packed["status"] === "Failed" };
}

function report(result: Result): string {
  const { name, input } = result;
  const text = shorten(result.text.trim(), quotedCharactersMax);
  if (result.isError) return `That did not work: the tool ${name} says: ${text}`;
  if (isMemoryEdit(name)) {
    const block =
      asText(input["label"]) ?? asText(input["target_block_label"]) ?? asText(input["path"])?.replace("/memories/", "") ?? "human";
    return `I will remember that: it is now in my core memory, in the block ${block}.`;
  }
  if (name === "archival_memory_insert") return `It is in my archive now: ${shorten(asText(input["content"]) ?? "", 200)}`;
  if (name === "archival_memory_search" || name === "conversation_search") {
    const where = name === "archival_memory_search" ? "my archive" : "our conversation";
    const query = asText(input["query"]) ?? "";
    const found = foundTexts(result.text);
    if (found.length === 0) return `I found nothing for "${query}" in ${where}.`;
    return `I searched ${where} for "${query}" and found:\n${found.map((one) => `- ${shorten(oneLine(one), 500)}`).join("\n")}`;
  }
  return text === "" ? `The tool ${name} has run and answered nothing.` : `The tool ${name} answered: ${text}`;
}

/** The tools for searching answer `{"results": [{"content": …}]}`; another tool of that name may answer anything. */
function foundTexts(text: string): readonly string[] {
  const parsed = parseJson(text);
  const list = Array.isArray(parsed) ? parsed : asObject(parsed)?.["results"];
  if (!Array.isArray(list)) return text.trim() === "" ? [] : [shorten(text, quotedCharactersMax)];
  return list.slice(0, resultsMax).map((entry) => asText(asObject(entry)?.["content"]) ?? JSON.stringify(entry));
}

/** Without the reminders that clients put beside it; legacy agents package it as JSON. */
function lastUserText(messages: readonly ModelMessage[]): string {
  const message = messages.findLast(({ role }) => role === "user");
  if (message?.role !== "user") return "";
  const text = withoutReminders(message.content.map((part) => (part.type === "text" ? part.text : "")).join("\n")).trim();
  const packed = asObject(parseJson(text));
  return packed === undefined || !("type" in packed) ? text : (asText(packed["message"]) ?? "").trim();
}

function withoutReminders(text: string): string {
  const kept: string[] = [];
  let at = 0;
  for (;;) {
    const open = text.indexOf("<system-reminder>", at);
    const close = open < 0 ? -1 : text.indexOf("</system-reminder>", open);
    if (close < 0) break;
    kept.push(text.slice(at, open));
    at = close + "</system-reminder>".length;
  }
  return [...kept, text.slice(at)].join("");
}

/** A compaction asks for a summary without offering tools. */
function isSummaryRequest(request: ModelRequest, text: string): boolean {
  const system = request.messages.find(({ role }) => role === "system");
  return (
    request.tools.length === 0 &&
    /\bsummar(?:y|i[sz]e|i[sz]ation)\b/i.test(`${system?.role === "system" ? system.content : ""}\n${text.slice(0, 500)}`)
  );
}

/** An extract: its first lines, shortened. */
function summary(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const extract = lines.slice(0, 30).map((line) => `- ${shorten(line, 160)}`);
  const rest = lines.length > 30 ? `\n(and ${lines.length - 30} more lines)` : "";
  return `An extract of the conversation so far, made by Kelpie's demo model, which cannot summarise:\n${extract.join("\n")}${rest}`;
}

function count(to: number): string {
  const end = Math.min(to, countMax);
  const numbers = Array.from({ length: end }, (_, index) => index + 1).join(" ");
  return to > countMax
    ? `${numbers}\nI stop here: I count to ${countMax} at most.`
    : numbers === ""
      ? "There is nothing to count."
      : numbers;
}

function oneLine(text: string): string {
  return text.trim().replaceAll(/\s+/g, " ");
}

function unquote(text: string): string {
  return text.trim().replace(/^["'“](.*)["'”]$/s, "$1");
}

const story = `This story is always the same, because I am not a language model. You may interrupt it at any time.

A kelpie lived in a loch so deep that nobody had counted its fish. On still evenings it came ashore as a grey horse and listened to what people said on the road. It forgot nothing. It knew who had borrowed a boat, who had promised to mend a wall, and who had said "tomorrow" for eleven years.

One autumn a ferryman came to the shore and asked the horse a favour. "I carry so many people," he said, "that I cannot keep them apart. When the fog comes I lose my place and start again from the beginning, and some of them pay twice, and some arrive not at all."

The kelpie thought about this for a while, as horses do. "Before you push off," it said, "tell me who is in the boat and where they are going. When you land, tell me that they have landed. If the fog takes you in between, come back to me, and I will tell you exactly where you were."

The ferryman tried it. On the first night the fog came down like a wall. He lost his lantern, his oar and his hat, and walked home wet. In the morning he asked the kelpie, and the kelpie said: "Six people. Four have landed. Two are on the small island, and one of them has your hat." He rowed out and fetched them, and nobody paid twice.

After that he told the kelpie everything before he did it. People laughed at a man who talked to a horse, until the winter in which three ferries were lost on the loch and his was not. Then they came too, one by one, and stood in line on the shore: the postman, the miller, the woman who kept the bees.

The kelpie listened to all of them, each in turn, and never mixed them up. It did not hurry. When two of them wanted to change the same thing, it let the first one finish, and told the second what had changed.

In spring the ferryman brought a bag of oats. "You have never asked for anything," he said. The grey horse looked at the water for a long time. "I like to know how things end," it said.

And that is how this one does.`;
