import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogFields, LogLevel } from "./environment.ts";
import { RealEnvironment } from "./real-environment.ts";

/** Real timers do not keep a process alive, so a test that waits for one holds it open. */
async function awake<T>(work: Promise<T>): Promise<T> {
  const keeper = setInterval(() => {}, 1_000);
  try {
    return await work;
  } finally {
    clearInterval(keeper);
  }
}

test("A sleep lasts at least as long as it was told", async () => {
  const { clock } = new RealEnvironment();
  const before = clock.elapsed();
  await awake(clock.sleep(20));
  // A timer counts whole milliseconds, so it can be early by a fraction of one.
  assert.ok(clock.elapsed() - before >= 19);
});

test("A sleep ends at once when its signal aborts, does not throw, and leaves no listener", async () => {
  const { clock } = new RealEnvironment();
  const controller = new AbortController();
  const sleep = clock.sleep(60_000, controller.signal);
  controller.abort();
  await awake(sleep);
  await awake(clock.sleep(60_000, controller.signal));
});

test("A sleep longer than a timer can count does not end at once", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { clock } = new RealEnvironment();
  let ended = false;
  void clock.sleep(2 ** 31 + 1_000).then(() => (ended = true));
  for (const [milliseconds, expected] of [
    [2 ** 31 - 1, false],
    [1_000, false],
    [1, true],
  ] as const) {
    context.mock.timers.tick(milliseconds);
    await Promise.resolve();
    assert.equal(ended, expected, `after ${milliseconds} more milliseconds`);
  }
});

test("A scheduled callback runs once, and never when it was cancelled, in the first part of a long wait or a later one", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { clock } = new RealEnvironment();
  let runs = 0;
  clock.schedule(10, () => runs++);
  clock.schedule(10, () => runs++)();
  const [cancelEarly, cancelLate] = [clock.schedule(2 ** 31 + 10, () => runs++), clock.schedule(2 ** 31 + 10, () => runs++)];
  cancelEarly();
  context.mock.timers.tick(2 ** 31 - 1);
  assert.equal(runs, 1);
  cancelLate();
  context.mock.timers.tick(2 ** 31);
  assert.equal(runs, 1);
});

test("Time of day is Unix milliseconds, and elapsed time never goes back", () => {
  const { clock } = new RealEnvironment();
  assert.ok(Math.abs(clock.now() - Date.now()) < 1_000);
  let previous = clock.elapsed();
  for (let count = 0; count < 1_000; count++) {
    const next = clock.elapsed();
    assert.ok(next >= previous);
    previous = next;
  }
});

test("Random bytes have the length asked for, below, at and above the size of the pool", () => {
  const { random } = new RealEnvironment();
  for (const count of [0, 1, 16, 4_095, 4_096, 4_097, 10_000]) assert.equal(random.bytes(count).length, count);
  const all = Array.from({ length: 2_000 }, () => Buffer.from(random.bytes(16)).toString("hex"));
  assert.equal(new Set(all).size, all.length);
});

test("Random bytes are the caller's own: a later draw does not change them", () => {
  const { random } = new RealEnvironment();
  const bytes = random.bytes(16);
  const copy = Uint8Array.from(bytes);
  for (let count = 0; count < 1_000; count++) random.bytes(16);
  assert.deepEqual(bytes, copy);
});

test("Fractions are at least 0, less than 1, and fall on both sides of one half", () => {
  const { random } = new RealEnvironment();
  const fractions = Array.from({ length: 1_000 }, () => random.fraction());
  assert.ok(fractions.every((fraction) => fraction >= 0 && fraction < 1));
  assert.ok(fractions.some((fraction) => fraction < 0.5) && fractions.some((fraction) => fraction >= 0.5));
});

test("UUIDs are of version 4 and all different", () => {
  const { random } = new RealEnvironment();
  const ids = Array.from({ length: 1_000 }, () => random.uuid());
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(ids).size, ids.length);
});

test("A UUID made later, in another millisecond, sorts later", async () => {
  const { random, clock } = new RealEnvironment();
  const ids: string[] = [];
  for (let index = 0; index < 3; index++) {
    ids.push(random.uuid());
    const before = clock.now();
    while (clock.now() === before) await new Promise((resolve) => void setImmediate(resolve));
  }
  assert.deepEqual(ids.toSorted(), ids);
});

function lines(
  options: { readonly level?: LogLevel; readonly json?: boolean },
  entries: readonly (readonly [LogLevel, string, LogFields?])[],
): string[] {
  const written: string[] = [];
  const { log } = new RealEnvironment({ ...options, write: (line) => void written.push(line) });
  for (const [level, message, fields] of entries) log.write(level, message, fields);
  return written;
}

test("A log line for people has time, level, message and fields", () => {
  const [line] = lines({}, [["warn", "Slow store", { milliseconds: 12, store: "sqlite", nested: { deep: [1] } }]]);
  assert.match(line!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warn {2}Slow store milliseconds=12 store=sqlite nested=\{"deep":\[1\]\}$/);
});

test("A log line for machines is one JSON object with the same parts", () => {
  const [line] = lines({ json: true }, [["info", "Started", { port: 8283 }]]);
  const { time, ...rest } = JSON.parse(line!) as { time: string };
  assert.deepEqual(rest, { level: "info", message: "Started", port: 8283 });
  assert.ok(!Number.isNaN(Date.parse(time)));
});

for (const json of [false, true]) {
  test(`An error in a log field keeps its stack (${json ? "JSON" : "text"}), on one line`, () => {
    const written = lines({ json }, [["error", "Failed", { cause: new TypeError("broken part") }]]);
    assert.match(written[0]!, /TypeError: broken part.*real-environment\.test/);
    assert.ok(!written[0]!.includes("\n"));
  });
  test(`A text with a line break in a log field cannot forge a second line (${json ? "JSON" : "text"})`, () => {
    const written = lines({ json }, [["info", "Called", { name: "x\n2026-01-01T00:00:00.000Z error Forged" }]]);
    assert.ok(!written[0]!.includes("\n"), written[0]);
  });
}

for (const json of [false, true])
  test(`A secret that the log was told of is in no line of it (${json ? "JSON" : "text"}), wherever it comes`, () => {
    const written: string[] = [];
    const { log } = new RealEnvironment({ json, write: (line) => void written.push(line) });
    const secret = 's3cr3t"-9fQ2xL7v';
    log.write("info", "Before", { secret });
    log.hide([secret]);
    log.write("info", "After", { secret, place: { list: [secret], error: new Error(`at https://x?key=${encodeURIComponent(secret)}`) } });
    log.hide(Array.from({ length: 500 }, (_, each) => `another secret ${each}`));
    log.hide([secret]);
    log.hide(Array.from({ length: 900 }, (_, each) => `one more secret ${each}`));
    log.write("info", "Long after", { error: new Error(secret), count: 1 });
    assert.match(written[0]!, /9fQ2xL7v/);
    for (const line of written.slice(1)) {
      assert.doesNotMatch(line, /9fQ2xL7v|s3cr3t/);
      assert.match(line, /\*{8}/);
      if (json) JSON.parse(line);
    }
  });

for (const [level, expected] of [
  ["debug", ["d", "i", "w", "e"]],
  ["info", ["i", "w", "e"]],
  ["warn", ["w", "e"]],
  ["error", ["e"]],
] as const) {
  test(`A log at level ${level} writes ${expected.length} of four levels`, () => {
    const written = lines({ level }, [
      ["debug", "d"],
      ["info", "i"],
      ["warn", "w"],
      ["error", "e"],
    ]);
    assert.deepEqual(
      written.map((line) => line.at(-1)),
      expected,
    );
  });
}

test("Probes do nothing in production", () => assert.doesNotThrow(() => new RealEnvironment().probe()));

test("Ids grow, also within one millisecond, and have the shape of version 4", () => {
  const { random } = new RealEnvironment();
  const ids = Array.from({ length: 10_000 }, () => random.uuid());
  assert.deepEqual(ids, ids.toSorted());
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids.slice(0, 100)) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
