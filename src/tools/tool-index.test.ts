import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Json } from "../base/json.ts";
import { type SearchableTool, ToolIndex } from "./tool-index.ts";

function tool(name: string, description = "", parameters: readonly string[] = []): SearchableTool {
  const properties = Object.fromEntries(parameters.map((each) => [each, { type: "string" }]));
  return { name, description, json_schema: { name, parameters: { type: "object", properties } } };
}

const names = (index: ToolIndex, query: string, limit = 5): readonly string[] => index.search(query, limit).map(({ name }) => name);

const office = new ToolIndex([
  tool("mail__send_message", "Sends an email to one or several people", ["to", "subject", "body"]),
  tool("mail__list_folders", "Lists the folders of the mailbox"),
  tool("calendar__createEvent", "Adds an appointment", ["startTime", "attendees"]),
  tool("calendar__list_events", "What is planned between two days", ["from", "to"]),
  tool("files__read_text_file", "Gives the content of a file as text", ["path"]),
  tool("files__write_file", "Puts a text into a file", ["path", "content"]),
  tool("github__getPullRequest", "One pull request of a repository on GitHub", ["owner", "pullNumber"]),
  tool("wetter", "Sagt das Wetter für einen Ort voraus: Größe, Wärme", ["ort"]),
  tool("translate_ja", "文章を日本語に翻訳する"),
]);

for (const [query, first] of [
  ["send an email", "mail__send_message"],
  ["sending emails", "mail__send_message"],
  ["create event", "calendar__createEvent"],
  ["CREATEEVENT", "calendar__createEvent"],
  ["attendees", "calendar__createEvent"],
  ["which events are planned", "calendar__list_events"],
  ["read file", "files__read_text_file"],
  ["pull requests", "github__getPullRequest"],
  ["github", "github__getPullRequest"],
  ["grosse WARME wetter", "wetter"],
  ["翻訳", "translate_ja"],
  ["Please use files__write_file or mail__list_folders", "files__write_file"],
] as const)
  test(`"${query}" finds ${first} first`, () => assert.equal(names(office, query)[0], first));

test("Tools that a query names come first, in its order, and each once", () => {
  assert.deepEqual(names(office, "wetter, files__write_file wetter; files__read_text_file"), [
    "wetter",
    "files__write_file",
    "files__read_text_file",
  ]);
  assert.deepEqual(names(office, "wetter files__write_file", 1), ["wetter"]);
});

test("A word in a name counts more than the same word in a description", () => {
  const index = new ToolIndex([tool("a", "weather and weather again"), tool("weather_report", "Tells what comes")]);
  assert.deepEqual(names(index, "weather"), ["weather_report", "a"]);
});

test("Nothing is found by no words, by words of no tool, and in no tools", () => {
  for (const query of ["", " ", "?!", "xylophone", "\ud800", "🦊"]) assert.deepEqual(names(office, query), [], query);
  assert.deepEqual(names(new ToolIndex([]), "anything"), []);
});

test("Equal tools are found in the order they were given in", () => {
  const index = new ToolIndex(Array.from({ length: 50 }, (_, at) => tool(`t${at}`, "Does the same")));
  assert.deepEqual(names(index, "same", 3), ["t0", "t1", "t2"]);
});

const nameArbitrary = fc.stringMatching(/^[a-zA-Z0-9_-]{1,64}$/);
const toolArbitrary: fc.Arbitrary<SearchableTool> = fc.record({
  name: nameArbitrary,
  description: fc.option(fc.string({ unit: "binary", maxLength: 200 })),
  json_schema: fc.record({ parameters: fc.jsonValue() as fc.Arbitrary<Json> }, { requiredKeys: [] }),
});
const toolsArbitrary = fc.uniqueArray(toolArbitrary, { selector: ({ name }) => name, minLength: 1, maxLength: 30 });

test("Every tool is found first by its exact name, whatever the others are", () => {
  fc.assert(
    fc.property(toolsArbitrary, (tools) => {
      const index = new ToolIndex(tools);
      for (const { name } of tools) assert.equal(names(index, name, 1)[0], name);
    }),
  );
});

test("Any query gives at most as many tools as asked for, each once, and the same ones again", () => {
  const word = fc.constantFrom("send", "file", "the", "list_events", "__", "\u0000", "constructor", "__proto__", "ß", "İ", "\ud83e");
  const query = fc.oneof(
    fc.string({ unit: "binary", maxLength: 3_000 }),
    fc.array(word, { maxLength: 500 }).map((words) => words.join(" ")),
  );
  fc.assert(
    fc.property(toolsArbitrary, query, fc.integer({ min: 1, max: 20 }), (tools, text, limit) => {
      const index = new ToolIndex([...tools, ...Object.keys(Object.prototype).map((name) => tool(name))]);
      const found = names(index, text, limit);
      assert.ok(found.length <= limit);
      assert.equal(new Set(found).size, found.length);
      assert.deepEqual(names(index, text, limit), found);
      assert.deepEqual(names(index, text, 1), found.slice(0, 1), "fewer are the first of more");
    }),
  );
});

test("Of enormous descriptions, schemas and queries only a beginning is looked at", () => {
  let deep: Json = { type: "object", properties: { deepest: {} } };
  for (let depth = 0; depth < 5_000; depth++) deep = { type: "object", properties: { inner: deep } };
  const wide = { type: "object", properties: Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`p${at}`, {}])) };
  const index = new ToolIndex([
    { name: "deep", description: "x".repeat(5_000_000), json_schema: { parameters: deep } },
    { name: "wide", description: `${"aB".repeat(1_000_000)} far`, json_schema: { parameters: wide } },
  ]);
  assert.deepEqual(names(index, "inner"), ["deep"]);
  assert.deepEqual(names(index, "deepest far p4999"), []);
  assert.deepEqual(names(index, `p7 ${"many words ".repeat(1_000_000)}`), ["wide"]);
  assert.ok(index.search("deep", 1)[0]!.description.length <= 400);
});
