import assert from "node:assert/strict";
import { test } from "node:test";
import { UnportableError } from "./globals.ts";
import { Kernel } from "./kernel.ts";
import { drainMicrotasks } from "./microtasks.ts";
import { type Incarnation, SimulatedProcess } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { Trace } from "./trace.ts";

function processIn(
  kernel: Kernel,
  boot: (incarnation: Incarnation) => void,
  options: { readonly seed?: number; readonly crashAt?: number } = {},
): SimulatedProcess {
  const crashPlan = options.crashAt === undefined ? undefined : { process: "p", crossing: options.crashAt };
  return new SimulatedProcess(kernel, { name: "p", random: new KeyedRandom(options.seed ?? 1), boot, crashPlan });
}

test("Events run by time, and in the order of scheduling within one time", async () => {
  const kernel = new Kernel();
  const order: string[] = [];
  for (const [milliseconds, name] of [
    [5, "e"],
    [1, "b"],
    [3, "d"],
    [1, "c"],
    [0, "a"],
  ] as const)
    kernel.schedule(milliseconds, { kind: name }, () => void order.push(name));
  assert.equal(await kernel.run(), "idle");
  assert.deepEqual(order, ["a", "b", "c", "d", "e"]);
  assert.equal(kernel.now, 5);
});

test("All microtasks of an event run before the next event, however long their chain is", async () => {
  const kernel = new Kernel();
  const order: string[] = [];
  kernel.schedule(1, { kind: "first" }, () => {
    void (async () => {
      for (let step = 0; step < 100; step++) await undefined;
      order.push("microtasks");
    })();
  });
  kernel.schedule(1, { kind: "second" }, () => void order.push("next event"));
  await kernel.run();
  assert.deepEqual(order, ["microtasks", "next event"]);
});

test("Microtasks are drained by V8 itself on this Node", () => assert.notEqual(drainMicrotasks, undefined));

test("A cancelled event never runs", async () => {
  const kernel = new Kernel();
  let ran = 0;
  const cancel = kernel.schedule(2, { kind: "x" }, () => void ran++);
  kernel.schedule(1, { kind: "y" }, cancel);
  await kernel.run();
  assert.equal(ran, 0);
});

test("A heap of many random times comes out in order", async () => {
  const kernel = new Kernel();
  const random = new KeyedRandom(7).stream("times");
  const seen: number[] = [];
  for (let count = 0; count < 2_000; count++) kernel.schedule(random.below(100), { kind: "x" }, () => void seen.push(kernel.now));
  await kernel.run();
  assert.equal(seen.length, 2_000);
  assert.deepEqual(
    seen,
    seen.toSorted((left, right) => left - right),
  );
});

test("A run ends at its bound of events, at its bound of time, and when it is stopped", async () => {
  const endless = (kernel: Kernel): void => void kernel.schedule(10, { kind: "again" }, () => endless(kernel));
  for (const [limits, end] of [
    [{ eventsMax: 50 }, "eventsMax"],
    [{ virtualMillisecondsMax: 95 }, "virtualMillisecondsMax"],
  ] as const) {
    const kernel = new Kernel({ limits });
    endless(kernel);
    assert.equal(await kernel.run(), end);
    assert.equal(kernel.events, end === "eventsMax" ? 50 : 9);
  }
  const kernel = new Kernel();
  endless(kernel);
  kernel.schedule(25, { kind: "stop" }, () => kernel.stop());
  assert.equal(await kernel.run(), "stopped");
  assert.equal(kernel.now, 25);
});

for (const [name, call] of [
  ["Date.now()", () => Date.now()],
  ["new Date()", () => new Date()],
  ["Math.random()", () => Math.random()],
  ["setTimeout", () => setTimeout(() => {}, 1)],
  ["setImmediate", () => setImmediate(() => {})],
  ["performance.now()", () => performance.now()],
  ["process.nextTick", () => process.nextTick(() => {})],
  ["crypto.randomUUID()", () => crypto.randomUUID()],
  ["crypto.getRandomValues()", () => crypto.getRandomValues(new Uint8Array(1))],
  ["AbortSignal.timeout()", () => AbortSignal.timeout(1)],
  ["fetch", () => fetch("http://127.0.0.1:1/")],
] as const) {
  test(`${name} throws inside a run and works again after it`, async () => {
    const kernel = new Kernel();
    let error: unknown;
    kernel.schedule(0, { kind: "x" }, () => {
      assert.equal(new Date(5).getTime(), 5);
      try {
        void call();
      } catch (thrown) {
        error = thrown;
      }
    });
    await kernel.run();
    assert.ok(error instanceof UnportableError, `${name} did not throw`);
    assert.equal(typeof Date.now(), "number");
    assert.ok(new Date() instanceof Date);
    assert.equal(Object.hasOwn(crypto, "randomUUID"), false);
  });
}

test("The guards come down when an event throws", async () => {
  const kernel = new Kernel();
  kernel.schedule(0, { kind: "x" }, () => {
    throw new Error("boom");
  });
  await assert.rejects(kernel.run(), /boom/);
  assert.ok(Math.random() < 1);
});

/** A process that sleeps random times in three loops and notes what it drew. */
async function tracedRun(seed: number, options: { readonly drain?: undefined } = {}): Promise<Trace> {
  const trace = new Trace({ linesMax: 1_000 });
  const kernel = new Kernel({ trace, ...options });
  processIn(
    kernel,
    ({ environment }) => {
      for (let loop = 0; loop < 3; loop++) {
        void (async () => {
          for (let step = 0; step < 20; step++) {
            await environment.clock.sleep(environment.random.fraction() * 10);
            environment.log.write("info", "Step", { loop, step, id: environment.random.uuid(), at: environment.clock.now() });
          }
        })();
      }
    },
    { seed },
  ).start();
  await kernel.run();
  return trace;
}

test("The same seed gives the same trace, line for line, and another seed another", async () => {
  const [first, second, other] = [await tracedRun(11), await tracedRun(11), await tracedRun(12)];
  assert.deepEqual(first.lines, second.lines);
  assert.equal(first.hash, second.hash);
  assert.notEqual(first.hash, other.hash);
  assert.ok(first.lines.length > 100);
});

test("A run that waits for macrotasks instead of V8's drain has the same trace", async () => {
  assert.deepEqual((await tracedRun(11, { drain: undefined })).lines, (await tracedRun(11)).lines);
});

test("The hash of a trace depends on every part of every line and on their order", () => {
  const hashes = new Set(
    [
      [
        [1, "a", "p", "x"],
        [2, "b", "p", "y"],
      ],
      [
        [2, "b", "p", "y"],
        [1, "a", "p", "x"],
      ],
      [
        [1, "a", "p", "x"],
        [2, "b", "p", "z"],
      ],
      [
        [1, "a", "q", "x"],
        [2, "b", "p", "y"],
      ],
      [
        [1, "c", "p", "x"],
        [2, "b", "p", "y"],
      ],
      [
        [3, "a", "p", "x"],
        [2, "b", "p", "y"],
      ],
    ].map((lines) => {
      const trace = new Trace();
      for (const [time, kind, who, details] of lines as [number, string, string, string][]) trace.add(time, kind, who, details);
      return trace.hash;
    }),
  );
  assert.equal(hashes.size, 6);
});

test("A crash ends a process at once: no continuation, no finally, no timer of it runs afterwards", async () => {
  const kernel = new Kernel();
  const seen: string[] = [];
  const process = processIn(kernel, ({ environment, label }) => {
    environment.clock.schedule(30, () => void seen.push(`${label} timer`));
    void (async () => {
      try {
        await environment.clock.sleep(10);
        seen.push(`${label} woke`);
        await environment.clock.sleep(10);
        seen.push(`${label} woke again`);
      } finally {
        seen.push(`${label} finally`);
      }
    })();
  });
  process.start();
  kernel.schedule(15, { kind: "kill" }, () => process.crash("test"));
  kernel.schedule(100, { kind: "start" }, () => process.start());
  await kernel.run();
  assert.deepEqual(seen, ["p#1 woke", "p#2 woke", "p#2 woke again", "p#2 finally", "p#2 timer"]);
  assert.equal(process.crashes, 1);
});

test("A process can be crashed at each of its crossings, and the run ends there each time", async () => {
  const stepsWhenCrashedAt = async (crashAt: number | undefined): Promise<{ steps: number; crossings: number }> => {
    const kernel = new Kernel();
    let steps = 0;
    const boot = ({ environment }: Incarnation): void => {
      void (async () => {
        for (; steps < 5; steps++) await environment.clock.sleep(1);
      })();
    };
    const process = processIn(kernel, boot, crashAt === undefined ? {} : { crashAt });
    process.start();
    await kernel.run();
    return { steps, crossings: process.crossings };
  };
  assert.deepEqual(await stepsWhenCrashedAt(undefined), { steps: 5, crossings: 5 });
  for (let crossing = 1; crossing <= 5; crossing++)
    assert.deepEqual(await stepsWhenCrashedAt(crossing), { steps: crossing - 1, crossings: crossing });
});

test("A paused process does nothing while the clock runs on, then catches up in order", async () => {
  const kernel = new Kernel();
  const seen: string[] = [];
  const process = processIn(kernel, ({ environment }) => {
    for (const milliseconds of [5, 20, 30, 200])
      environment.clock.schedule(milliseconds, () => void seen.push(`${milliseconds} at ${kernel.now}`));
  });
  process.start();
  kernel.schedule(10, { kind: "pause" }, () => process.pause(90));
  await kernel.run();
  assert.deepEqual(seen, ["5 at 5", "20 at 100", "30 at 100", "200 at 200"]);
});

test("A process that crashes while it is paused loses what it held back", async () => {
  const kernel = new Kernel();
  let ran = 0;
  const process = processIn(kernel, ({ environment }) => void environment.clock.schedule(20, () => void ran++));
  process.start();
  kernel.schedule(10, { kind: "pause" }, () => process.pause(100));
  kernel.schedule(50, { kind: "kill" }, () => process.crash("test"));
  await kernel.run();
  assert.equal(ran, 0);
});

test("A simulated sleep ends early when its signal aborts, and costs no time when it has aborted", async () => {
  const kernel = new Kernel();
  const times: number[] = [];
  processIn(kernel, ({ environment }) => {
    const controller = new AbortController();
    environment.clock.schedule(7, () => controller.abort());
    void (async () => {
      await environment.clock.sleep(1_000, controller.signal);
      times.push(environment.clock.elapsed());
      await environment.clock.sleep(1_000, controller.signal);
      times.push(environment.clock.elapsed());
    })();
  }).start();
  await kernel.run();
  assert.deepEqual(times, [7, 7]);
});
