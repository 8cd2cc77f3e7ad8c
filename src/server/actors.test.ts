import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "@hono/zod-openapi";
import type { Turn } from "../actors/actor.ts";
import { defineActor } from "../actors/define-actor.ts";
import { bodyBytesMax } from "./json-body.ts";
import { listen } from "./listen.ts";
import { openTestServer } from "./testing.ts";

const Counter = defineActor({
  type: "counter",
  methods: {
    add: async (turn: Turn, body: { by: number }) => {
      const count = ((await turn.state.get<number>(["count"])) ?? 0) + body.by;
      turn.state.set(["count"], count);
      return { count };
    },
    read: async (turn: Turn) => (await turn.state.get<number>(["count"])) ?? 0,
    nothing: async () => undefined,
    hang: async (turn: Turn) => new Promise((resolve) => turn.signal.addEventListener("abort", () => resolve(null))),
    fail: async () => {
      throw new Error("secret inside");
    },
  },
  schemas: { add: z.object({ by: z.int().min(1) }) },
});

test("A call over HTTP runs a method, and its state is there for the next", async () => {
  await using server = await openTestServer({ actors: [Counter] });
  assert.deepEqual((await server.call("POST", "/v1/actors/counter/ada/add", { by: 2 })).body, { count: 2 });
  assert.deepEqual((await server.call("POST", "/v1/actors/counter/ada/add/", { by: 3 })).body, { count: 5 });
  assert.equal((await server.call("POST", "/v1/actors/counter/ada/read")).body, 5);
  assert.equal((await server.call("POST", "/v1/actors/counter/eve/read")).body, 0);
  assert.equal((await server.call("POST", "/v1/actors/counter/ada/nothing")).body, null);
});

test("A key may hold slashes, spaces and any Unicode", async () => {
  await using server = await openTestServer({ actors: [Counter] });
  for (const key of ["a/b", "ü ñ", "50%", "a?b#c"]) {
    assert.deepEqual((await server.call("POST", `/v1/actors/counter/${encodeURIComponent(key)}/add`, { by: 1 })).body, { count: 1 }, key);
    assert.equal(await server.services.actors.invoke({ project: "default", type: "counter", key }, Counter.parse("read", undefined)), 1);
  }
});

test("A repeat under one Idempotency-Key takes effect once and has the same answer; the key with another body is refused", async () => {
  await using server = await openTestServer({ actors: [Counter] });
  const headers = { "idempotency-key": "order-1" };
  for (let repeat = 0; repeat < 3; repeat++)
    assert.deepEqual((await server.call("POST", "/v1/actors/counter/ada/add", { by: 2 }, headers)).body, { count: 2 });
  assert.equal((await server.call("POST", "/v1/actors/counter/ada/read")).body, 2);
  const other = await server.call("POST", "/v1/actors/counter/ada/add", { by: 9 }, headers);
  assert.equal(other.status, 422);
  assert.match(other.body.detail, /^headers\.Idempotency-Key: /);
});

const refusals: readonly {
  name: string;
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
  status: number;
  detail: RegExp;
}[] = [
  { name: "an unknown type", path: "/v1/actors/robot/ada/add", status: 404, detail: /^NOT_FOUND: Actor type not found with id='robot'/ },
  { name: "a type that is not for HTTP", path: "/v1/actors/conversation/ada/send", status: 404, detail: /^NOT_FOUND: Actor type/ },
  { name: "a type that no type can have", path: "/v1/actors/a%20b/ada/add", status: 422, detail: /^path\.type: / },
  { name: "an unknown method", path: "/v1/actors/counter/ada/fly", status: 422, detail: /no method "fly"; they have add, read/ },
  { name: "a method of every object", path: "/v1/actors/counter/ada/toString", status: 422, detail: /no method "toString"/ },
  {
    name: "a body that its schema refuses",
    path: "/v1/actors/counter/ada/add",
    body: { by: 0 },
    status: 422,
    detail: /body of counter\.add is not valid/,
  },
  {
    name: "a key that is too long",
    path: `/v1/actors/counter/${"x".repeat(501)}/add`,
    body: { by: 1 },
    status: 422,
    detail: /^path\.key: expected at most 500 characters/,
  },
  {
    name: "a timeout that is none",
    path: "/v1/actors/counter/ada/read",
    headers: { "kelpie-timeout-milliseconds": "soon" },
    status: 422,
    detail: /^headers\.Kelpie-Timeout-Milliseconds: expected 1 to 3600000, received "soon"/,
  },
  {
    name: "an Idempotency-Key that is too long",
    path: "/v1/actors/counter/ada/read",
    headers: { "idempotency-key": "x".repeat(201) },
    status: 422,
    detail: /^headers\.Idempotency-Key: expected 1 to 200/,
  },
  {
    name: "a call that takes too long",
    path: "/v1/actors/counter/ada/hang",
    headers: { "kelpie-timeout-milliseconds": "20" },
    status: 504,
    detail: /./,
  },
  { name: "an actor that fails", path: "/v1/actors/counter/ada/fail", status: 500, detail: /^An unknown error occurred$/ },
];

for (const { name, path, body, headers, status, detail } of refusals)
  test(`Calling with ${name} → ${status}`, async () => {
    await using server = await openTestServer({ actors: [Counter] });
    const answer = await server.call("POST", path, body, headers ?? {});
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(answer.body.detail, detail);
  });

test("A full mailbox → 429 with the time to wait", async () => {
  await using server = await openTestServer({ actors: [Counter], actorLimits: { mailboxMessages: 1 } });
  const hanging = Array.from({ length: 4 }, () =>
    server.call("POST", "/v1/actors/counter/ada/hang", undefined, { "kelpie-timeout-milliseconds": "300" }),
  );
  const answers = await Promise.all(hanging);
  const full = answers.filter((answer) => answer.status === 429);
  assert.ok(full.length > 0, JSON.stringify(answers.map((answer) => answer.status)));
  for (const answer of full) assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/);
});

test("Over a socket, past the router, calls are answered as through it", async () => {
  await using server = await openTestServer({ actors: [Counter] });
  const listening = await listen(server.app, {
    host: "127.0.0.1",
    port: 0,
    hasKey: false,
    environment: server.services.environment,
    close: () => {},
  });
  const calls = [
    { path: "/v1/actors/counter/a%2Fb/add", body: { by: 2 } },
    { path: "/v1/actors/counter/a%2Fb/read" },
    { path: "/v1/actors/counter/a%2Fb/nothing/" },
    { path: "/latest/actors/counter/a%2Fb/read" },
    { path: "/v1/actors/counter/100%/read" },
    { path: "/v1/actors/counter/ada/add", body: "{" },
    { path: "/v1/actors/counter/ada/read", body: "null" },
    { path: "/v1/actors/counter/ada" },
    { path: "/v1/actors/counter/ada/add/more" },
    ...refusals,
  ];
  for (const { path, body, headers = {} } of calls as { path: string; body?: unknown; headers?: Record<string, string> }[]) {
    const routed = await server.call("POST", path, body, headers);
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const direct = await fetch(listening.url + path, { method: "POST", headers, ...(text === undefined ? {} : { body: text }) });
    assert.equal(direct.status, routed.status, path);
    const answered = (await direct.json()) as { trace_id?: string; count?: number };
    assert.deepEqual({ ...answered, trace_id: null, count: null }, { ...routed.body, trace_id: null, count: null }, path);
    assert.equal(direct.headers.get("content-type"), "application/json");
  }
  await listening.close(100);
});

test("Over a socket, a call needs the key, a local name and a body within the limit", async () => {
  for (const [options, headers, status] of [
    [{ key: "k" }, {}, 401],
    [{ key: "k" }, { authorization: "Bearer k" }, 200],
    [{ loopbackOnly: true }, { origin: "http://evil.example" }, 403],
    [{ loopbackOnly: true }, {}, 200],
  ] as const) {
    await using server = await openTestServer({ actors: [Counter], ...options });
    const listening = await listen(server.app, {
      host: "127.0.0.1",
      port: 0,
      hasKey: true,
      environment: server.services.environment,
      close: () => {},
    });
    const url = `${listening.url}/v1/actors/counter/ada/add`;
    assert.equal((await fetch(url, { method: "POST", headers, body: '{"by":1}' })).status, status);
    if (status === 200) {
      const large = await fetch(url, { method: "POST", headers, body: Buffer.alloc(bodyBytesMax + 1, 0x20) }).catch(() => undefined);
      // The client may see the connection close while it still sends; the answer itself is a 413.
      assert.ok(large === undefined || large.status === 413);
      assert.equal((await server.call("POST", "/v1/actors/counter/ada/read", undefined, headers)).body, 1);
    }
    await listening.close(100);
  }
});
