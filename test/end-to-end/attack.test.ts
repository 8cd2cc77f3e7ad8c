/** A real `kelpie serve` in the hands of unlucky operators and hostile clients. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { kelpie } from "./kelpie-command.ts";

const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A folder with a sound store in it, changed by `damage`. */
async function damagedStore(name: string, damage: (file: string) => void): Promise<string> {
  const sound = join(folder, "sound");
  if (!sounds.has(sound)) {
    sounds.add(sound);
    await kelpie(["serve", "--port", "0", "--data", sound, "--json"], { watch: (_text, child) => child.kill("SIGINT") });
  }
  const copy = join(folder, name);
  mkdirSync(copy);
  copyFileSync(join(sound, "kelpie.db"), join(copy, "kelpie.db"));
  damage(join(copy, "kelpie.db"));
  return copy;
}
const sounds = new Set<string>();

function overwrite(file: string, text: string, replacement: string): void {
  const bytes = readFileSync(file);
  const at = bytes.indexOf(text);
  assert.ok(at > 0, `${text} is in the store`);
  bytes.write(replacement, at);
  writeFileSync(file, bytes);
}

const starts: readonly (readonly [name: string, folder: () => string | Promise<string>, note: RegExp])[] = [
  ["a path that is too long", () => join(folder, "x".repeat(300)), /Cannot create the store .*name too long/],
  ["a file of one byte", () => damagedStore("byte", (file) => truncateSync(file, 1)), /not a store of Kelpie.*left as it is/],
  [
    "a file that lost its last byte",
    () => damagedStore("cut", (file) => truncateSync(file, readFileSync(file).length - 1)),
    /is damaged \(it has \d+ bytes, and should have \d+\)/,
  ],
  ["half a file", () => damagedStore("half", (file) => truncateSync(file, Math.floor(readFileSync(file).length / 2))), /is damaged/],
  [
    "a row that is no JSON any more",
    () => damagedStore("row", (file) => overwrite(file, '"conversation_search"', "conversation_search")),
    /The store is damaged: one of its rows.* restore a backup/,
  ],
];

for (const [name, make, note] of starts)
  test(`A start on ${name} says so in one line`, async () => {
    const { code, notes } = await kelpie(["serve", "--port", "0", "--data", await make()]);
    assert.equal(code, 1, notes);
    assert.match(notes, note);
    assert.doesNotMatch(notes, /^\s+at /m, "There is no stack trace");
  });

for (const [name, args, variables, note] of [
  [
    "a default model that is not configured",
    ["--model", "openai/gpt-5-mini"],
    {},
    /Handle openai\/gpt-5-mini not found.*set OPENAI_API_KEY/,
  ],
  ["an address without its key", [], { OPENAI_API_BASE: "http://127.0.0.1:9/v1" }, /OPENAI_API_BASE is ignored without OPENAI_API_KEY/],
] as const)
  test(`A start with ${name} serves, and notes it`, async () => {
    const { code, notes } = await kelpie(["serve", "--port", "0", "--data", join(folder, "noted"), "--json", ...args], {
      variables,
      watch: (_text, child) => child.kill("SIGINT"),
    });
    assert.equal(code, 0, notes);
    assert.match(notes, note);
  });

test("An argument that no command takes is an error, not passed over", async () => {
  for (const command of ["serve", "doctor"]) {
    const { code, notes } = await kelpie([command, "now"]);
    assert.equal(code, 2);
    assert.match(notes, /takes no argument.*"now"/);
  }
});

test("A server whose log nobody reads any more goes on", async () => {
  const data = join(folder, "unread");
  const main = join(import.meta.dirname, "..", "..", "src", "main.ts");
  const child = spawn(process.execPath, [main, "serve", "--json", "--port", "0", "--data", data, "--log-level", "debug"], {
    env: { PATH: process.env.PATH, KELPIE_DISCOVER_LOCAL: "no" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    const { url } = JSON.parse(line) as { url: string };
    child.stdout.destroy();
    child.stderr.destroy();
    const post = async (path: string, body: unknown): Promise<{ readonly id: string }> =>
      (await (await fetch(url + path, { method: "POST", body: JSON.stringify(body) })).json()) as { readonly id: string };
    // Nobody listens on port 9, and the failed call is logged.
    await post("/v1/providers", { name: "mine", provider_type: "vllm", api_key: "none", base_url: "http://127.0.0.1:19/v1" });
    const { id } = await post("/v1/agents", { model: "kelpie/demo", memory_blocks: [] });
    await fetch(`${url}/v1/agents/${id}`, { method: "PATCH", body: JSON.stringify({ model: "mine/x", context_window_limit: 8_000 }) });
    await post(`/v1/agents/${id}/messages`, { input: "hi" });
    assert.equal((await fetch(`${url}/v1/health`)).status, 200);
    assert.equal(child.exitCode, null);
  } finally {
    child.kill("SIGKILL");
  }
});
