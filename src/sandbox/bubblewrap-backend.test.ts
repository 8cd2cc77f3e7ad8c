import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";
import { diagnoseSandbox } from "./diagnose-sandbox.ts";
import { describeSandboxContract } from "./sandbox.contract.ts";
import { bubblewrapMissing } from "./testing.ts";

const environment = new RealEnvironment({ write: () => undefined });
const ordinaryUser = 65_534;
const isOrdinary = process.getuid!() !== 0;

describe("BubblewrapBackend", { skip: bubblewrapMissing ?? false }, () => {
  describeSandboxContract(`BubblewrapBackend, run by ${isOrdinary ? "an ordinary user" : "root"},`, {
    open: () => BubblewrapBackend.open({ environment }),
  });

  test("The diagnosis is of a command that ran", async () => {
    const { isReady, detail } = await diagnoseSandbox(environment);
    assert.equal(isReady, true);
    assert.match(detail, /^process \(bubblewrap [\d.]+\) found and started in \d+ ms, ran a command in \d+ ms/);
  });

  test("Nothing runs on after Kelpie is killed", { timeout: 30_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-killed-"));
    // The arguments of processes are there for everybody to read.
    const mark = folder.replaceAll("/", "-");
    const running = (): number => readdirSync("/proc").filter((name) => /^\d+$/.test(name) && argumentsOf(name).includes(mark)).length;
    const child = spawn(process.execPath, [join(import.meta.dirname, "bubblewrap-backend.child.ts"), folder, mark]);
    await new Promise((resolve) => child.stdout.once("data", resolve));
    assert.ok(running() >= 3, `${running()} run: Kelpie, the command, and what left it`);
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await exited;
    // The kernel ends the rest by itself, from parent to child.
    while (running() > 0) await new Promise((resolve) => void setImmediate(resolve));
    rmSync(folder, { recursive: true });
  });

  test("All of this holds for an ordinary user too", { skip: isOrdinary ? "this is one" : false }, (context) => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-ordinary-"));
    chmodSync(folder, 0o777);
    const as = {
      uid: ordinaryUser,
      gid: ordinaryUser,
      cwd: "/",
      encoding: "utf8",
      env: { PATH: process.env["PATH"], TMPDIR: folder, HOME: folder },
    } as const;
    try {
      const canRead = spawnSync(process.execPath, ["-e", `require("node:fs").readFileSync(${JSON.stringify(import.meta.filename)})`], as);
      if (canRead.status !== 0) return context.skip(`another user may not read ${import.meta.dirname}`);
      const script = `const { findBubblewrap } = await import(${JSON.stringify(join(import.meta.dirname, "bubblewrap-host.ts"))}); console.log((await findBubblewrap()).problem ?? "")`;
      const problem = spawnSync(process.execPath, ["--input-type=module", "-e", script], as).stdout.trim();
      if (problem !== "") return context.skip(`an ordinary user: ${problem}`);
      const run = spawnSync(process.execPath, ["--test", "--test-reporter=tap", import.meta.filename], as);
      assert.equal(
        run.status,
        0,
        run.stdout
          .split("\n")
          .filter((line) => /not ok|error:/.test(line))
          .join("\n") + run.stderr,
      );
      assert.match(run.stdout, /run by an ordinary user/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

function argumentsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    // It has ended.
    return "";
  }
}
