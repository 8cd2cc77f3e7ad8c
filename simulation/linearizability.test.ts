import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkLinearizable, type Operation, type SequentialModel } from "./linearizability.ts";

type Input = { readonly kind: "read" } | { readonly kind: "write"; readonly value: number } | { readonly kind: "increment" };
type Seen = number | "ok";

/** A number that can be read, written and incremented; an increment answers with the new value. */
const register: SequentialModel<number, Input, Seen> = {
  init: 0,
  step(state, input, output) {
    if (input.kind === "read") return output === state ? { state } : undefined;
    if (input.kind === "write") return { state: input.value };
    return output === undefined || output === state + 1 ? { state: state + 1 } : undefined;
  },
  key: String,
  isRead: (input) => input.kind === "read",
  kind: (input) => (input.kind === "write" ? `write ${input.value}` : input.kind),
};

type History = readonly Operation<Input, Seen>[];

/** Tries every order that respects time; an operation without a known outcome may also be left out. */
function bruteForce(history: History, state = 0): boolean {
  const left = history.filter((operation) => operation.returned !== Infinity);
  if (left.length === 0) return true;
  const firstReturn = Math.min(...left.map((operation) => operation.returned));
  return history.some((operation) => {
    if (operation.called > firstReturn) return false;
    const result = register.step(state, operation.input, operation.returned === Infinity ? undefined : operation.output);
    return (
      result !== undefined &&
      bruteForce(
        history.filter((other) => other !== operation),
        result.state,
      )
    );
  });
}

function operation(called: number, returned: number, input: Input, output?: Seen): Operation<Input, Seen> {
  return { called, returned, input, output };
}

const read: Input = { kind: "read" };
const increment: Input = { kind: "increment" };
function write(value: number): Input {
  return { kind: "write", value };
}

const cases: readonly [string, History, string][] = [
  ["nothing", [], "linearizable"],
  ["a read of what was written before", [operation(0, 1, write(5), "ok"), operation(2, 3, read, 5)], "linearizable"],
  ["a read that misses an acknowledged write", [operation(0, 1, write(5), "ok"), operation(2, 3, read, 0)], "not linearizable"],
  ["a read beside a write sees the old value", [operation(0, 9, write(5), "ok"), operation(1, 2, read, 0)], "linearizable"],
  [
    "two reads beside a write go back",
    [operation(0, 9, write(5), "ok"), operation(1, 2, read, 5), operation(3, 4, read, 0)],
    "not linearizable",
  ],
  ["a read at the moment of the write's answer overlaps it", [operation(0, 1, write(5), "ok"), operation(1, 2, read, 0)], "linearizable"],
  ["an unknown write is seen late", [operation(0, Infinity, write(5)), operation(1, 2, read, 0), operation(3, 4, read, 5)], "linearizable"],
  [
    "an unknown write is seen and then not",
    [operation(0, Infinity, write(5)), operation(1, 2, read, 5), operation(3, 4, read, 0)],
    "not linearizable",
  ],
  ["an unknown write is seen before its call", [operation(1, 2, read, 5), operation(3, Infinity, write(5))], "not linearizable"],
  ["an unknown read says nothing", [operation(0, Infinity, read, 77)], "linearizable"],
  ["a lost increment", [operation(0, 5, increment, 1), operation(1, 6, increment, 1)], "not linearizable"],
  [
    "two of three unknown increments happened",
    [operation(0, Infinity, increment), operation(0, Infinity, increment), operation(0, Infinity, increment), operation(1, 2, read, 2)],
    "linearizable",
  ],
  ["more increments seen than made", [operation(0, Infinity, increment), operation(1, 2, read, 2)], "not linearizable"],
];

for (const [name, history, verdict] of cases)
  test(`checkLinearizable: ${name} is ${verdict}`, () => {
    assert.equal(checkLinearizable(register, history).verdict, verdict);
    assert.equal(bruteForce(history), verdict === "linearizable");
  });

const anyOperation: fc.Arbitrary<Operation<Input, Seen>> = fc
  .record({
    called: fc.integer({ min: 0, max: 12 }),
    length: fc.integer({ min: 1, max: 8 }),
    isUnknown: fc.boolean(),
    input: fc.oneof(fc.constant(read), fc.constant(increment), fc.integer({ min: 0, max: 3 }).map(write)),
    output: fc.integer({ min: 0, max: 4 }),
  })
  .map(({ called, length, isUnknown, input, output }) =>
    operation(called, isUnknown && input.kind !== "read" ? Infinity : called + length, input, output),
  );

test("checkLinearizable agrees with brute force on 20,000 small histories", () => {
  const verdicts = { true: 0, false: 0 };
  const property = fc.property(fc.array(anyOperation, { maxLength: 7 }), (history) => {
    const expected = bruteForce(history);
    verdicts[`${expected}`]++;
    assert.equal(checkLinearizable(register, history).verdict, expected ? "linearizable" : "not linearizable");
  });
  fc.assert(property, { numRuns: 20_000 });
  // Both verdicts must be common, or the agreement would say little.
  assert.ok(Math.min(verdicts.true, verdicts.false) > 2_000, JSON.stringify(verdicts));
});

test("checkLinearizable names the operation that cannot be placed", () => {
  const stale = operation(4, 5, read, 1);
  const verdict = checkLinearizable(register, [operation(0, 1, write(1), "ok"), operation(2, 3, write(2), "ok"), stale]);
  assert.deepEqual(verdict, { verdict: "not linearizable", stuckAt: stale });
});

test("checkLinearizable says unknown when its budget runs out", () => {
  const history = Array.from({ length: 20 }, (_, index) => operation(0, 100, write(index), "ok"));
  assert.equal(checkLinearizable(register, [...history, operation(101, 102, read, 55)], 1_000).verdict, "unknown");
});

test("checkLinearizable handles 10,000 operations of 32 clients, some unknown", () => {
  const random = lehmer(7);
  const history: Operation<Input, Seen>[] = [];
  let value = 0;
  let now = 0;
  const freeAt = Array.from({ length: 32 }, () => 0);
  for (let index = 0; index < 10_000; index++) {
    const client = freeAt.indexOf(Math.min(...freeAt));
    // Each takes effect at a moment of its own, in the order of `now`, somewhere between its call and its return.
    const called = Math.max(freeAt[client]!, now - random() * 20);
    now = Math.max(now, called) + random();
    const returned = now + random() * 20;
    freeAt[client] = returned;
    const isRead = random() < 0.5;
    if (!isRead) value++;
    const isUnknown = !isRead && random() < 0.01;
    history.push(operation(called, isUnknown ? Infinity : returned, isRead ? read : increment, value));
  }
  assert.equal(checkLinearizable(register, history).verdict, "linearizable");
  const spoiled = history.map((each, index) => (index === 5_000 ? { ...each, output: 1 } : each));
  assert.equal(checkLinearizable(register, spoiled).verdict, "not linearizable");
});

/** Small numbers from a seed: at least 0, less than 1. */
function lehmer(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}
