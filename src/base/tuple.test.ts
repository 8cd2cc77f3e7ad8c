import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { compareBytes, concatBytes, equalBytes } from "./bytes.ts";
import { decodeTuple, encodeTuple, type Tuple, type TupleElement, tupleRange } from "./tuple.ts";

const awkwardNumbers = [
  0,
  1,
  -1,
  255,
  -255,
  256,
  -256,
  65_535,
  65_536,
  -65_536,
  2 ** 31,
  2 ** 32,
  -(2 ** 32),
  2 ** 48,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
];
const awkwardTexts = [
  "",
  "\0",
  "\0\0",
  "\0\u00ff",
  "a",
  "a\0",
  "a\0b",
  "ab",
  "\u007f",
  "\u0080",
  "é",
  "ÿ",
  "\uffff",
  "\ufeffa",
  "😀",
  "\u{10ffff}",
  "agent-6f1c6f1c-1111-4111-8111-123456789abc",
];

const anyText = fc.oneof(
  fc.constantFrom(...awkwardTexts),
  fc.string({ unit: "grapheme", maxLength: 5 }),
  fc.string({ unit: fc.constantFrom("\0", "a", "\u00ff", "\u{10000}", "\uffff"), maxLength: 4 }),
);
const anyElement: fc.Arbitrary<TupleElement> = fc.oneof(
  fc.constantFrom<TupleElement[]>(null, false, true),
  fc.array(fc.constantFrom(0x00, 0x01, 0x61, 0xff), { maxLength: 4 }).map((bytes) => Uint8Array.from(bytes)),
  anyText,
  fc.oneof(fc.constantFrom(...awkwardNumbers), fc.maxSafeInteger()),
);
const anyTuple: fc.Arbitrary<Tuple> = fc.array(anyElement, { maxLength: 4 });

/** T1, written from its words. */
function compareTuples(left: Tuple, right: Tuple): number {
  for (let index = 0; index < Math.min(left.length, right.length); index++) {
    const order = compareElements(left[index]!, right[index]!);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}

function compareElements(left: TupleElement, right: TupleElement): number {
  if (rank(left) !== rank(right)) return rank(left) - rank(right);
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") return compareBytes(Buffer.from(left), Buffer.from(right));
  if (left instanceof Uint8Array && right instanceof Uint8Array) return compareBytes(left, right);
  return 0;
}

function rank(element: TupleElement): number {
  if (element === null) return 0;
  if (element instanceof Uint8Array) return 1;
  return ["string", "number"].indexOf(typeof element) >= 0 ? (typeof element === "string" ? 2 : 3) : element === false ? 4 : 5;
}

/** `-0` is written as 0. */
function normal(tuple: Tuple): Tuple {
  return tuple.map((element) => (element === 0 ? 0 : element));
}

describe("Tuples", () => {
  // From FoundationDB's description of the format, and counted by hand.
  for (const [tuple, hex] of [
    [[], ""],
    [[null], "00"],
    [[Uint8Array.of(0x66, 0x00, 0x6f)], "016600ff6f00"],
    [["F\u00d4O\u0000bar"], "0246c3944f00ff62617200"],
    [[0], "14"],
    [[1], "1501"],
    [[-1], "13fe"],
    [[-5_551_212], "11ab4b93"],
    [[42, -300, true, false], "152a12fed32726"],
    [["project", "agent"], "0270726f6a65637400026167656e7400"],
  ] as readonly (readonly [Tuple, string])[])
    test(`${JSON.stringify(tuple)} is written as ${hex || "nothing"}`, () => {
      assert.equal(Buffer.from(encodeTuple(tuple)).toString("hex"), hex);
      assert.deepEqual(
        decodeTuple(Buffer.from(hex, "hex")).map((element) => (element instanceof Uint8Array ? [...element] : element)),
        tuple.map((element) => (element instanceof Uint8Array ? [...element] : element)),
      );
    });

  test("come back as they were", () => {
    fc.assert(
      fc.property(anyTuple, (tuple) => assert.deepEqual(decodeTuple(encodeTuple(tuple)), normal(tuple))),
      { numRuns: 5_000 },
    );
  });

  test("T1: are in the order of their elements", () => {
    const sameStart = fc.tuple(anyTuple, anyTuple, anyTuple).map(
      ([start, left, right]) =>
        [
          [...start, ...left],
          [...start, ...right],
        ] as const,
    );
    fc.assert(
      fc.property(sameStart, ([left, right]) =>
        assert.equal(Math.sign(compareBytes(encodeTuple(left), encodeTuple(right))), Math.sign(compareTuples(left, right))),
      ),
      { numRuns: 20_000 },
    );
  });

  test("T1: every pair of awkward elements is in order", () => {
    const elements: TupleElement[] = [
      null,
      false,
      true,
      Uint8Array.of(),
      Uint8Array.of(0),
      Uint8Array.of(255),
      ...awkwardNumbers,
      ...awkwardTexts,
    ];
    for (const left of elements)
      for (const right of elements) {
        const order = Math.sign(compareBytes(encodeTuple([left, "x"]), encodeTuple([right, "x"])));
        assert.equal(order, Math.sign(compareElements(left, right)), `${String(left)} and ${String(right)}`);
      }
  });

  test("T2: a range holds the longer tuples that begin with the prefix, and no others", () => {
    const startsWith = (tuple: Tuple, prefix: Tuple): boolean =>
      tuple.length > prefix.length && compareTuples(tuple.slice(0, prefix.length), prefix) === 0;
    const related = fc
      .tuple(anyTuple, anyTuple)
      .chain(([prefix, rest]) => fc.tuple(fc.constant(prefix), fc.oneof(anyTuple, fc.constant([...prefix, ...rest]))));
    fc.assert(
      fc.property(related, ([prefix, tuple]) => {
        const { begin, end } = tupleRange(prefix);
        const key = encodeTuple(tuple);
        assert.equal(compareBytes(key, begin) >= 0 && compareBytes(key, end) < 0, startsWith(tuple, prefix));
      }),
      { numRuns: 10_000 },
    );
  });

  for (const value of [0.5, NaN, Infinity, 2 ** 53, -(2 ** 53)])
    test(`cannot hold the number ${value}`, () =>
      assert.throws(() => encodeTuple([value]), { name: "TypeError", message: /only safe integers/ }));
  for (const text of ["\ud800", "a\udfff", "\udc00\ud800"])
    test(`cannot hold the text ${JSON.stringify(text)}`, () =>
      assert.throws(() => encodeTuple(["a", text]), { name: "TypeError", message: /lone surrogate/ }));

  for (const [title, hex, message] of [
    ["a text without an end", "0261", /ends inside a text/],
    ["a byte string without an end", "0100ff", /ends inside a text or byte string/],
    ["an integer without its bytes", "1601", /ends inside an integer/],
    ["an integer of 8 bytes", "1cffffffffffffffff", /over 53 bits/],
    ["an unknown type", "99", /Unknown type code 153/],
    ["a text that is not UTF-8", "02ff6100", /./],
  ] as const)
    test(`bytes with ${title} are refused`, () =>
      assert.throws(() => decodeTuple(Buffer.from(hex, "hex")), { name: "TypeError", message }));

  test("a refused tuple leaves nothing behind in the next one", () => {
    assert.throws(() => encodeTuple(["long ".repeat(100), 0.5]));
    assert.deepEqual(decodeTuple(encodeTuple(["a", 1])), ["a", 1]);
  });

  test("keys that share an array do not overlap, and none keeps more than 1 KB of others alive", () => {
    const tuples = Array.from({ length: 500 }, (_, index): Tuple => ["key", index, "x".repeat(index)]);
    const keys = tuples.flatMap((tuple) => [encodeTuple(tuple), tupleRange(tuple).begin, tupleRange(tuple).end]);
    for (const [index, tuple] of tuples.entries()) {
      const [key, begin, end] = keys.slice(3 * index, 3 * index + 3) as [Uint8Array, Uint8Array, Uint8Array];
      assert.deepEqual(decodeTuple(key), tuple);
      assert.ok(equalBytes(begin, concatBytes(key, Uint8Array.of(0x00))) && equalBytes(end, concatBytes(key, Uint8Array.of(0xff))));
      assert.ok(key.buffer.byteLength <= key.length + 1_024);
    }
  });

  test("a text of 100,000 characters is one element among others", () => {
    const tuple = ["x".repeat(100_000), "é".repeat(50_000), "\0".repeat(10_000), 7];
    assert.deepEqual(decodeTuple(encodeTuple(tuple)), tuple);
  });
});
