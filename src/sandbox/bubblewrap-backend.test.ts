import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
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

  test("Nothing runs on after Kelpie is killed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-killed-"));
    const child = spawn(process.execPath, [join(import.meta.dirname, "bubblewrap-backend.child.ts"), folder], { stdio: "inherit" });
    const beat = (): string => {
      const id = readdirSync(folder).find((name) => existsSync(join(folder, name, "workspace", "beat")));
      return id === undefined ? "" : readFileSync(join(folder, id, "workspace", "beat"), "utf8");
    };
    while (beat() === "") await new Promise((resolve) => void setImmediate(resolve));
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await exited;
    // The kernel ends the rest by itself, from parent to child; then the beat is the same from one look to many looks later.
    let last = "";
    for (let same = 0; same < 50;) {
      spawnSync("/bin/true");
      const now = beat();
      same = now === last ? same + 1 : 0;
      last = now;
    }
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
