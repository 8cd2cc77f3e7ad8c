/** `kelpie chat` in a real terminal, as a person sees it. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";

const hasTmux = spawnSync("tmux", ["-V"]).status === 0;
const main = join(import.meta.dirname, "..", "..", "src", "main.ts");
const waitMillisecondsMax = 60_000;

/** A terminal of 100 columns and 40 lines, in a tmux server of its own. */
class TmuxScreen implements Disposable {
  readonly #socket = `kelpie-test-${process.pid}`;

  constructor(command: readonly string[]) {
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    // The shell outlives the command, so that its exit code can be seen.
    this.#tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", `${quoted}; echo "exit code $?"; exec sleep 600`);
  }

  type(text: string): void {
    this.#tmux("send-keys", "-l", text);
    this.#tmux("send-keys", "Enter");
  }

  press(key: string): void {
    this.#tmux("send-keys", key);
  }

  text(): string {
    return this.#tmux("capture-pane", "-p", "-S", "-");
  }

  async until(expected: RegExp): Promise<string> {
    const end = performance.now() + waitMillisecondsMax;
    for (;;) {
      const text = this.text();
      if (expected.test(text)) return text;
      assert.ok(performance.now() < end, `The screen never showed ${expected}:\n${text}`);
      await sleep(100);
    }
  }

  #tmux(...args: readonly string[]): string {
    return execFileSync("tmux", ["-L", this.#socket, ...args], { encoding: "utf8" });
  }

  [Symbol.dispose](): void {
    this.#tmux("kill-server");
  }
}

test(
  "A person chats, sees a memory edit, cancels an answer with Ctrl-C, and leaves with Ctrl-D",
  { skip: hasTmux ? false : "tmux is not installed" },
  async () => {
    await using server = await ServerProcess.start({ KELPIE_DEMO_TOKEN_MILLISECONDS: "10" });
    using screen = new TmuxScreen([process.execPath, main, "chat", "--server", server.url]);
    await screen.until(/Talking to Kelpie \(agent-[\s\S]*demo model[\s\S]*you>/);
    screen.type("Remember that my name is Ada");
    await screen.until(/✎ memory block human\n(.*\n)*? {2}\+ .*Ada[\s\S]*you> *\n*$/);
    screen.type("What is my name?");
    await screen.until(/What is my name\?\n.*Ada[\s\S]*you> *\n*$/);
    screen.type("Count to 900");
    await screen.until(/\b1\b[\s\S]*\b30\b/);
    screen.press("C-c");
    await screen.until(/\(cancelled\)\nyou> *\n*$/);
    screen.press("C-d");
    await screen.until(/exit code 0/);
  },
);
