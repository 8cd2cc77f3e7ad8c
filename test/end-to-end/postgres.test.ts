/** `kelpie serve` over PostgreSQL, as a process that is killed and started again. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import type { ActorType } from "../../src/actors/actor.ts";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie, type KelpieOptions } from "../../src/kelpie.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { kelpie } from "./kelpie-command.ts";
import { answerFrom, clusterAt, membersAt, newAgent } from "./cluster-client.ts";

const skip = postgresMissing ?? false;
const discover = { KELPIE_DISCOVER_LOCAL: "no" };
let postgres: PostgresServer;
if (postgresMissing === undefined) {
  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres[Symbol.asyncDispose]());
}

test("Doctor tells what a start would find in PostgreSQL, makes nothing, and never shows the password", { skip }, async () => {
  const look = async (password: string): Promise<{ readonly code: number | null; readonly detail: string }> => {
    const address = postgres.passwordAddress(password);
    const { code, output, notes } = await kelpie(["doctor", "--json", "--port", "0"], {
      variables: { ...discover, KELPIE_STORE: address },
    });
    if (password !== "right") assert.ok(!(output + notes).includes(password));
    const findings = JSON.parse(output) as { subject: string; detail: string }[];
    return { code, detail: findings.find(({ subject }) => subject === "store")!.detail };
  };
  const fresh = await look("right");
  assert.equal(fresh.code, 0);
  assert.match(fresh.detail, /^PostgreSQL database kelpie at 127\.0\.0\.1:\d+ has no store yet, and one will be made$/);
  assert.equal(postgres.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'kelpie'"), "0");
  const refused = await look("wrong-one-of-mine");
  assert.equal(refused.code, 1);
  assert.match(refused.detail, /password authentication failed.*Check the user and the password/);
});

test("A start that PostgreSQL refuses says why in one line, without the password", { skip }, async () => {
  const address = postgres.passwordAddress("wrong-one-of-mine");
  const { code, output, notes } = await kelpie(["serve", "--port", "0"], { variables: { ...discover, KELPIE_STORE: address } });
  assert.equal(code, 1);
  assert.match(notes, /^error: Cannot open the PostgreSQL database kelpie at 127\.0\.0\.1:\d+: password authentication failed.*\n$/);
  assert.ok(!(output + notes).includes("wrong-one-of-mine"));
});

test("A server over PostgreSQL is killed in the middle of an answer, and goes on with it: each number once", { skip }, async () => {
  await using server = await ServerProcess.start({ KELPIE_STORE: postgres.passwordAddress("right"), KELPIE_DEMO_TOKEN_MILLISECONDS: "5" });
  let killed: Promise<void> | undefined;
  const { code, output } = await kelpie(["chat", "-m", "Count to 300", "--server", server.url], {
    watch: (text) => {
      if (/\b40\b/.test(text)) killed ??= server.kill().then(() => server.restart());
    },
  });
  assert.ok(killed !== undefined);
  await killed;
  assert.equal(code, 0, output);
  const numbers = [...output.replaceAll(/\(.*\)\n/g, "").matchAll(/\d+/g)].map(([number]) => Number(number));
  assert.deepEqual(
    numbers,
    Array.from({ length: 300 }, (_, index) => index + 1),
  );
  assert.deepEqual(
    readdirSync(server.folder).filter((file) => file.startsWith("kelpie.db")),
    [],
    "no file is made beside the database",
  );
  assert.match(
    (await kelpie(["doctor", "--port", "0"], { variables: { ...discover, KELPIE_STORE: postgres.tcpAddress() } })).output,
    /is Kelpie's/,
  );
});

test("Two nodes over PostgreSQL need the same secret, and share their agents", { skip }, async () => {
  const address = postgres.passwordAddress("right");
  const variables = { KELPIE_STORE: address, KELPIE_NODE: "node1", KELPIE_DEMO_TOKEN_MILLISECONDS: "0" };
  const refused = await kelpie(["serve", "--port", "0"], { variables: { ...discover, ...variables } });
  assert.equal(refused.code, 1);
  assert.match(refused.notes, /need a secret.*set KELPIE_CLUSTER_SECRET/);
  const secret = { KELPIE_CLUSTER_SECRET: "a-secret-of-this-test" };
  await using node1 = await ServerProcess.start({ ...variables, ...secret });
  await using node2 = await ServerProcess.start({ ...variables, ...secret, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url });
  for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
  for (const [made, asked] of [
    [node1, node2],
    [node2, node1],
  ] as const) {
    const id = await newAgent(made.url);
    await answerFrom(made.url, id, "Remember that my name is Ada");
    assert.match(await answerFrom(asked.url, id, "What is my name?"), /Ada/);
  }
  assert.ok(!JSON.stringify(await clusterAt(node1.url)).includes("right"));
});

/** Answers how many activations of it there have been. */
function activationCounter(): ActorType<null, number> {
  let activations = 0;
  return {
    type: "activations",
    create: () => {
      const mine = ++activations;
      return { receive: async () => mine };
    },
  };
}

const cluster = { name: "node1", secret: "a-secret-of-this-test", onFenced: (reason: Error) => assert.fail(reason) };
for (const [what, options] of [
  ["A server alone", {}],
  ["A node of a cluster", { cluster }],
] satisfies [string, Partial<KelpieOptions>][])
  test(`${what} forgets its activations when PostgreSQL has failed over`, { skip }, async () => {
    await using kelpie = await createKelpie({
      storeAddress: postgres.tcpAddress(),
      environment: new RealEnvironment({ level: "error" }),
      actors: [activationCounter()],
      ...options,
    });
    const ask = async (): Promise<number> => await kelpie.actors.invoke<number>({ project: "p", type: "activations", key: "k" }, null);
    assert.equal(await ask(), 1);
    assert.equal(await ask(), 1);
    await postgres.stop("fast");
    postgres.makeStandby();
    await postgres.resume();
    postgres.query("SELECT pg_promote()");
    // The change shows with the next answer of the server.
    await kelpie.store.read([{ key: Buffer.from("any") }]);
    for (let seen = await ask(); seen === 1; seen = await ask()) await sleep(50);
    assert.equal(await ask(), 2);
  });
