/**
 * An actor of your own: a counter that is addressable for ever, counts one call at a time, and forgets nothing that
 * it acknowledged. Called in the process, then over HTTP, then after a restart.
 *
 * Run it with `node_modules/.bin/node examples/counter.ts`. It checks what it sees, and fails if something is wrong.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { Turn } from "../src/actors/actor.ts";
import { actorOf, createKelpie, defineActor } from "../src/kelpie.ts";

const Counter = defineActor({
  type: "counter",
  methods: {
    async increment(turn: Turn, { by }: { by: number }) {
      const count = ((await turn.state.get<number>(["count"])) ?? 0) + by;
      turn.state.set(["count"], count);
      return count;
    },
    async read(turn: Turn) {
      return (await turn.state.get<number>(["count"])) ?? 0;
    },
  },
  schemas: { increment: z.object({ by: z.number().int() }) },
});

const dataDirectory = mkdtempSync(join(tmpdir(), "kelpie-counter-"));
try {
  {
    await using kelpie = await createKelpie({ dataDirectory, actors: [Counter] });
    const visits = actorOf(kelpie.actors, Counter, "visits");
    assert.equal(await visits.increment({ by: 2 }), 2);
    console.log("In the process: 2");

    await Promise.all(Array.from({ length: 100 }, () => visits.increment({ by: 1 })));
    assert.equal(await visits.read(), 102);
    console.log("After a hundred calls at once: 102");

    const { url } = await kelpie.serve({ port: 0 });
    const call = async (method: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
      await fetch(`${url}/v1/actors/counter/visits/${method}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body: JSON.stringify(body),
      });
    // The same key for every attempt: however often the call is repeated, it counts once.
    for (let attempt = 0; attempt < 3; attempt++) {
      const response = await call("increment", { by: 5 }, { "Idempotency-Key": "visit 103" });
      assert.equal(await response.json(), 107);
    }
    console.log("Over HTTP, three attempts of one call: 107");

    const refused = await call("increment", { by: "five" });
    assert.ok(refused.status >= 400 && refused.status < 500, `Refused with ${refused.status}`);
    console.log(`A body that is not valid is refused: ${refused.status}`);
  }

  await using restarted = await createKelpie({ dataDirectory, actors: [Counter] });
  assert.equal(await actorOf(restarted.actors, Counter, "visits").read(), 107);
  console.log("After a restart: 107");
} finally {
  rmSync(dataDirectory, { recursive: true, force: true });
}
