import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Member } from "./cluster/cluster.ts";
import { memberWrite, readMember } from "./cluster/member-rows.ts";
import { SqliteStore } from "./storage/sqlite-store.ts";
import type { Start } from "./supervisor.child.ts";

const port = 4321;
const ready: Start = { port };

interface Supervised {
  readonly folder: string;
  readonly process: ChildProcess;
  /** The next line of the server. */
  line(): Promise<string>;
  /** The next start of the server. */
  started(): Promise<{ readonly pid: number; readonly port?: number }>;
  notes(): string;
  /** The exit code, when neither of both runs any more. */
  readonly closed: Promise<number | null>;
}

function supervise(t: TestContext, starts: readonly Start[], folder: string = temporaryFolder(t)): Supervised {
  const [supervisor, server] = ["supervisor.ts", "supervisor.child.ts"].map((file) => join(import.meta.dirname, file));
  const child = spawn(process.execPath, [supervisor!, server!, join(folder, "starts"), JSON.stringify(starts)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  let notes = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (notes += text));
  const lines: Interface = createInterface(child.stdout);
  const waiting: AsyncIterator<string> = lines[Symbol.asyncIterator]();
  const line = async (): Promise<string> => String((await waiting.next()).value);
  return {
    folder,
    process: child,
    line,
    started: async () => JSON.parse(await line()) as { readonly pid: number; readonly port?: number },
    notes: () => notes,
    closed: once(child, "close").then(([code]) => code as number | null),
  };
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const member: Member = {
  node: "node1#1",
  name: "node1",
  state: "up",
  address: null,
  capacity: 1,
  wire: { min: 1, max: 1 },
  schema: { min: 1, max: 1 },
  beat: 0,
  joinedAt: 0,
};

/** A store in which there is a member, and a start of its server. */
async function withMember(folder: string): Promise<{ readonly store: SqliteStore; readonly start: Start }> {
  const path = join(folder, "kelpie.db");
  const store = await SqliteStore.open(path);
  await store.commit({ id: "1", checks: [], writes: [memberWrite(member)] });
  return { store, start: { node: { name: member.node, place: { kind: "sqlite", path } }, port } };
}

test("A server that is killed is dead in the store at once, and is started again on the port that it had", async (t) => {
  const folder = temporaryFolder(t);
  const { store: opened, start } = await withMember(folder);
  await using store = opened;
  const supervised = supervise(t, [start, {}], folder);
  const first = await supervised.started();
  assert.equal(first.port, undefined);
  assert.equal((await readMember(store, member.node))?.member.state, "up");
  process.kill(first.pid, "SIGKILL");
  const second = await supervised.started();
  assert.notEqual(second.pid, first.pid);
  assert.equal(second.port, port);
  assert.equal((await readMember(store, member.node))?.member.state, "dead");
  assert.match(supervised.notes(), /^kelpie: The server was ended by SIGKILL\. It is started again now\n$/);
  supervised.process.kill("SIGTERM");
  assert.equal(await supervised.closed, 0);
});

test("A server that does not react is vouched for while it may be busy, and is ended when that lasts", async (t) => {
  const folder = temporaryFolder(t);
  const { store: opened, start } = await withMember(folder);
  await using store = opened;
  const supervised = supervise(t, [start, {}], folder);
  const { pid } = await supervised.started();
  const untilVouched = async (beat: number): Promise<void> => {
    while ((await readMember(store, member.node))!.member.beat < beat) await sleep(20);
  };
  process.kill(pid, "SIGSTOP");
  await untilVouched(2);
  process.kill(pid, "SIGCONT");
  assert.equal(supervised.notes(), "", "it was busy");
  // For good.
  process.kill(pid, "SIGSTOP");
  await untilVouched(5);
  assert.equal((await readMember(store, member.node))!.member.state, "up");
  assert.notEqual((await supervised.started()).pid, pid);
  assert.equal((await readMember(store, member.node))!.member.state, "dead");
  assert.match(
    supervised.notes(),
    /^kelpie: The server is stuck: it has not reacted for 10 s, and is ended\nkelpie: .*SIGKILL.*started again now\n$/,
  );
});

test("When the end cannot be told, it says so and starts the server again", async (t) => {
  const folder = temporaryFolder(t);
  const place = { kind: "sqlite", path: join(folder, "missing", "\0") } as const;
  const supervised = supervise(t, [{ node: { name: "node1#1", place }, port, code: 1 }, {}]);
  await supervised.started();
  await supervised.started();
  assert.match(
    supervised.notes(),
    /could not be told of the end of node1#1, and will see it by themselves: .*\n.*ended with exit code 1\. /,
  );
});

test("One that ends again and again is started more and more slowly, and it says so", async (t) => {
  const supervised = supervise(t, [{ ...ready, code: 1 }, { code: 4 }, { code: 1 }, {}]);
  for (let count = 0; count < 3; count++) await supervised.started();
  supervised.process.kill("SIGTERM");
  // The third has ended, or is told to: the pause before the fourth is two seconds long.
  assert.ok([0, 1, 143].includes((await supervised.closed)!));
  assert.match(
    supervised.notes(),
    /^kelpie: The server ended with exit code 1\. It is started again now\nkelpie: The server ended with exit code 4, 2 times in a row soon after its start\. It is started again in 1 s\n/,
  );
});

for (const [what, start, code] of [
  ["never was ready", { code: 1 }, 1],
  ["finds its settings wrong", { ...ready, code: 2 }, 2],
  ["has stopped in order", { ...ready, code: 0 }, 0],
  ["was stopped at once by a second signal", { ...ready, code: 130 }, 130],
] satisfies [string, Start, number][])
  test(`A server that ${what} is not started again`, async (t) => {
    const supervised = supervise(t, [start]);
    assert.equal(await supervised.closed, code);
    assert.equal(supervised.notes(), "");
  });

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  test(`${signal} is passed on, and what the server ends with is passed up`, async (t) => {
    const supervised = supervise(t, [ready]);
    await supervised.started();
    supervised.process.kill(signal);
    assert.equal(await supervised.line(), signal);
    assert.equal(await supervised.closed, 0);
  });

test("A second signal ends a server at once that does not hear the first", async (t) => {
  const supervised = supervise(t, [{ ...ready, isDeaf: true }]);
  await supervised.started();
  supervised.process.kill("SIGINT");
  assert.equal(await supervised.line(), "SIGINT");
  // The same wish until some time has passed.
  const again = setInterval(() => supervised.process.kill("SIGINT"), 50);
  t.after(() => clearInterval(again));
  assert.equal(await supervised.closed, 130);
});

test("A server whose supervisor is killed knows it", async (t) => {
  const supervised = supervise(t, [ready]);
  await supervised.started();
  supervised.process.kill("SIGKILL");
  assert.equal(await supervised.line(), "alone");
  await supervised.closed;
});
