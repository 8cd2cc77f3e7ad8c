import assert from "node:assert/strict";
import { test } from "node:test";
import type { Member } from "../cluster/cluster.ts";
import { createApp } from "./app.ts";
import type { ClusterView } from "./services.ts";
import { openTestServer } from "./testing.ts";

const versions = { min: 1, max: 2 };
const member: Member = {
  node: "node1#0a",
  name: "node1",
  state: "up",
  address: "127.0.0.1:8290",
  capacity: 1,
  wire: versions,
  schema: versions,
  beat: 7,
  process: { host: "h", pid: 1, started: "s" },
  joinedAt: 1_700_000_000_000,
};
const view: ClusterView = {
  node: member.node,
  isDraining: false,
  members: [member],
  store: { kind: "postgres", url: "postgres://kelpie@db/kelpie" },
  operations: {
    status: async () => ({ state: "up", actors: 12 }),
    drain: async () => undefined,
    undoDrain: async () => undefined,
  },
};

test("A Kelpie that runs alone is in no cluster, and is ready", async () => {
  await using server = await openTestServer();
  const { status, body } = await server.call("GET", "/v1/cluster");
  assert.deepEqual([status, body], [200, { node: null, actors: 0, store: null, members: [] }]);
  assert.equal((await server.call("GET", "/v1/ready")).status, 200);
});

test("A node shows the members and the store, and nothing of processes", async () => {
  await using server = await openTestServer();
  const answer = await createApp({ ...server.services, cluster: view }).request("/v1/cluster");
  assert.deepEqual(await answer.json(), {
    node: "node1#0a",
    actors: 0,
    store: view.store,
    members: [
      {
        node: "node1#0a",
        name: "node1",
        state: "up",
        actors: 12,
        address: "127.0.0.1:8290",
        capacity: 1,
        wire: versions,
        schema: versions,
        joined_at: "2023-11-14T22:13:20.000Z",
      },
    ],
  });
});

test("A node that drains is alive, and not ready", async () => {
  await using server = await openTestServer();
  const app = createApp({ ...server.services, cluster: { ...view, isDraining: true } });
  const ready = await app.request("/v1/ready");
  assert.equal(ready.status, 503);
  assert.deepEqual(await ready.json(), { status: "draining", detail: "This node is draining: its agents go to the other nodes" });
  assert.equal((await app.request("/v1/health")).status, 200);
});
