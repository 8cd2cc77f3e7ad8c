/** A server whose store is away, refuses, takes no writes, or is full: what its clients see, and that nothing acknowledged is lost. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { newAgent } from "./cluster-client.ts";

const skip = postgresMissing ?? false;
let postgres: PostgresServer;
if (postgresMissing === undefined) {
  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres[Symbol.asyncDispose]());
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function ask(server: ServerProcess, method: "GET" | "POST", path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(server.url + path, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

const newAgentIn = (server: ServerProcess): Promise<Answer> => ask(server, "POST", "/v1/agents", { memory_blocks: [] });

/** Until /v1/ready answers so; the last answer. */
async function untilReady(server: ServerProcess, status: 200 | 503): Promise<string> {
  for (;;) {
    const ready = await ask(server, "GET", "/v1/ready");
    if (ready.status === status) return ready.text;
    await sleep(20);
  }
}

async function isUnready(server: ServerProcess): Promise<void> {
  assert.deepEqual(JSON.parse(await untilReady(server, 503)), {
    status: "store_unavailable",
    detail: "The store cannot be written to now",
  });
  assert.equal((await ask(server, "GET", "/v1/health")).status, 200);
}

async function startOverPostgres(): Promise<ServerProcess> {
  return await ServerProcess.start({ KELPIE_STORE: postgres.passwordAddress("right"), KELPIE_DEMO_TOKEN_MILLISECONDS: "0" });
}

test("A server whose PostgreSQL is away is alive and not ready; what waits is done when it is back", { skip }, async () => {
  await using server = await startOverPostgres();
  const id = await newAgent(server.url);
  await untilReady(server, 200);
  await postgres.stop("immediate");
  await isUnready(server);
  const waiting = [newAgentIn(server), ask(server, "GET", `/v1/agents/${id}`)];
  await isUnready(server);
  await postgres.resume();
  for (const { status, text } of await Promise.all(waiting)) assert.equal(status, 200, text);
  await untilReady(server, 200);
  assert.equal((await ask(server, "GET", `/v1/agents/${id}`)).status, 200);
});

/** What an administrator does to the database, with the connections that it has. */
function alter(change: string): void {
  postgres.query(`ALTER DATABASE kelpie ${change}`, "postgres");
  postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kelpie'", "postgres");
}

test("A server whose database has become read-only reads, refuses what it cannot write, and goes on by itself", { skip }, async () => {
  await using server = await startOverPostgres();
  const id = await newAgent(server.url);
  alter("SET default_transaction_read_only = on");
  try {
    await isUnready(server);
    assert.equal((await ask(server, "GET", `/v1/agents/${id}`)).status, 200);
    const { status, text } = await newAgentIn(server);
    assert.equal(status, 503);
    assert.match(text, /takes no writes: it is a standby or read-only\. Name the primary.*\. Nothing was changed/);
  } finally {
    alter("SET default_transaction_read_only = off");
  }
  await untilReady(server, 200);
  assert.equal((await newAgentIn(server)).status, 200);
});

test("A server whose database refuses connections is not ready, and does what waits when it is let in again", { skip }, async () => {
  await using server = await startOverPostgres();
  const id = await newAgent(server.url);
  alter("WITH ALLOW_CONNECTIONS false");
  let waiting: Promise<Answer>;
  try {
    await isUnready(server);
    waiting = ask(server, "GET", `/v1/agents/${id}`);
    await isUnready(server);
  } finally {
    alter("WITH ALLOW_CONNECTIONS true");
  }
  const { status, text } = await waiting;
  assert.equal(status, 200, text);
  await untilReady(server, 200);
});

/** A disk of its own. */
class SmallDisk implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), "kelpie-disk-"));
  readonly problem: string | undefined;

  constructor(megabytes: number) {
    const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", this.path], { encoding: "utf8" });
    this.problem = status === 0 ? undefined : `a disk for the test cannot be mounted: ${stderr?.trim() ?? "there is no mount"}`;
  }

  grow(megabytes: number): void {
    execFileSync("mount", ["-o", `remount,size=${megabytes}m`, this.path]);
  }

  [Symbol.dispose](): void {
    if (this.problem === undefined) execFileSync("umount", ["--lazy", this.path]);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** More than any of the disks has room for. */
const agentsMax = 1_000;

/** Agents with large blocks are made until one is refused; nothing of those before it is lost, and it goes on when there is room. */
async function fillsUp(server: ServerProcess, disk: SmallDisk): Promise<void> {
  const made: string[] = [];
  const make = async (): Promise<Answer> => {
    const value = Buffer.from(Array.from({ length: 12_000 }, () => Math.floor(Math.random() * 256))).toString("base64");
    const answer = await ask(server, "POST", "/v1/agents", { memory_blocks: [{ label: "noise", value, limit: 20_000 }] });
    if (answer.status === 200) made.push((JSON.parse(answer.text) as { id: string }).id);
    return answer;
  };
  let refused = await make();
  while (refused.status === 200 && made.length < agentsMax) refused = await make();
  assert.equal(refused.status, 503);
  assert.match(refused.text, /disk is full\. Nothing was written; it goes on when there is space\. Nothing was changed/);
  assert.equal((await ask(server, "GET", `/v1/agents/${made[0]!}`)).status, 200, "it reads");
  disk.grow(200);
  await untilReady(server, 200);
  assert.equal((await make()).status, 200);
  const listed = JSON.parse((await ask(server, "GET", "/v1/agents?limit=1000")).text) as readonly { readonly id: string }[];
  assert.deepEqual(listed.map(({ id }) => id).toSorted(), made.toSorted(), "nothing acknowledged is lost");
}

test("A server whose disk is full refuses what it cannot write, loses nothing, and goes on when there is room", async (context) => {
  using disk = new SmallDisk(4);
  if (disk.problem !== undefined) return context.skip(disk.problem);
  await using server = await ServerProcess.start({ KELPIE_DATA: join(disk.path, "data") });
  await fillsUp(server, disk);
});

test("The same of the disk of PostgreSQL's tables", { skip }, async (context) => {
  using disk = new SmallDisk(10);
  if (disk.problem !== undefined) return context.skip(disk.problem);
  const space = join(disk.path, "space");
  mkdirSync(space);
  chmodSync(disk.path, 0o755);
  execFileSync("chown", ["postgres:postgres", space]);
  postgres.query(`CREATE TABLESPACE small LOCATION '${space}'`, "postgres");
  postgres.query("CREATE DATABASE small TABLESPACE small", "postgres");
  try {
    await using server = await ServerProcess.start({ KELPIE_STORE: postgres.passwordAddress("right", "small") });
    await fillsUp(server, disk);
  } finally {
    postgres.query("DROP DATABASE small WITH (FORCE)", "postgres");
    postgres.query("DROP TABLESPACE small", "postgres");
  }
});
