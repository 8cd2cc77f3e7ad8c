import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeWire, encodeWire, WireDecodeError, wireDepthMax, WireEncodeError, wireValuesMax } from "./wire.ts";

const anyBytes = 100_000_000;

const leaf = fc.oneof(
  fc.constantFrom(
    null,
    undefined,
    true,
    false,
    -0,
    "\ufeffmark",
    "\ud800",
    "a\udfff",
    "x".repeat(31),
    "é".repeat(31),
    "x".repeat(300),
    "日".repeat(40_000),
  ),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
  fc.string({ unit: "binary" }),
  fc.uint8Array({ maxLength: 300 }),
);
const key = fc.oneof(fc.string(), fc.constantFrom("constructor", "toString", "é", "")).filter((text) => text !== "__proto__");
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(key, tie("value"), { noNullPrototype: true }),
  ),
})).value;

test("W1: what is read is what was written", () => {
  fc.assert(
    fc.property(value, (before) => {
      const bytes = encodeWire(before, anyBytes);
      assert.deepEqual(decodeWire(bytes), before);
      assert.equal(Object.is(decodeWire(encodeWire(before, bytes.length)), -0), Object.is(before, -0));
    }),
  );
});

test("W1: long arrays and objects come through", () => {
  for (const count of [15, 16, 65_535, 65_536]) {
    const array = Array.from({ length: count }, (_, at) => at);
    assert.deepEqual(decodeWire(encodeWire(array, anyBytes)), array);
    const object = Object.fromEntries(array.map((at) => [`k${at}`, at]));
    assert.deepEqual(decodeWire(encodeWire(object, anyBytes)), object);
  }
});

test("W1: what would arrive as something else is refused", () => {
  const holdsItself: unknown[] = [];
  holdsItself.push(holdsItself);
  const values = [
    new Map(),
    new Set(),
    new Date(),
    /x/,
    new Error("x"),
    () => 1,
    Symbol("s"),
    new Float64Array(1),
    new URL("http://a"),
    Promise.resolve(),
  ];
  for (const refused of [
    ...values,
    2n ** 64n,
    -(2n ** 63n) - 1n,
    JSON.parse('{"__proto__": 1}'),
    holdsItself,
    new Array(wireValuesMax + 1).fill(0),
  ])
    assert.throws(() => encodeWire([refused], anyBytes), WireEncodeError);
});

test("A value that takes more bytes than it may is refused before it is all written", () => {
  for (const large of ["x".repeat(1_001), new Uint8Array(1_001), Array.from({ length: 1_001 }, () => 0), { a: "x".repeat(1_000) }]) {
    assert.throws(() => encodeWire(large, 1_000), /more than 1000 bytes/);
    encodeWire(large, 1_100);
  }
});

test("W2: what was read does not refer to the bytes it was read from", () => {
  const bytes = encodeWire({ bytes: new Uint8Array([1, 2, 3]), text: "text" }, anyBytes);
  const before = decodeWire(bytes);
  bytes.fill(0);
  assert.deepEqual(before, { bytes: new Uint8Array([1, 2, 3]), text: "text" });
});

const malformed: readonly (readonly [string, string])[] = [
  ["nothing", ""],
  ["an array whose elements are missing", "93c0c0"],
  ["an array of four billion", "ddffffffff"],
  ["an object of four billion", "dfffffffff00"],
  ["a text of four billion", "dbffffffff61"],
  ["bytes of four billion", "c6ffffffff61"],
  ["a text that ends early", "a561"],
  ["a number that ends early", "cb00"],
  ["a second value", "c0c0"],
  ["a code that is never used", "c1"],
  ["a record of msgpackr", "d47240"],
  ["a record of msgpackr with keys", "d5724091a161"],
  ["a date", "d6ff00000000"],
  ["an extension of one byte", "d40100"],
  ["an extension of 8 bits", "c7020141"],
  ["an extension of 32 bits", "c90000000205ffff"],
  ["half a UTF-16 unit", "c900000001016100"],
  ["a key that is a number", "810102"],
  ["a key that is an array", "819001"],
  ["the key __proto__", `81a9${Buffer.from("__proto__").toString("hex")}80`],
  ["the key __proto__, written long", `81d909${Buffer.from("__proto__").toString("hex")}80`],
  ["the key __proto__, as UTF-16", `81c90000001201${Buffer.from("__proto__", "utf16le").toString("hex")}80`],
  ["a text that is not UTF-8", "a2c328"],
  ["the key __proto__, in overlong UTF-8", `81aac19f${Buffer.from("_proto__").toString("hex")}80`],
  ["arrays in arrays", "91".repeat(wireDepthMax + 1) + "c0"],
];
for (const [what, hex] of malformed)
  test(`W3: ${what} is refused`, () => {
    assert.throws(() => decodeWire(Buffer.from(hex, "hex")), WireDecodeError);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

test("W2: more values than a body may have are refused while they are read", () => {
  const bytes = Buffer.alloc(wireValuesMax + 5, 0x80);
  bytes[0] = 0xdd;
  bytes.writeUInt32BE(wireValuesMax, 1);
  assert.throws(() => decodeWire(bytes), /More than 1000000 values/);
});

test("W3: bytes of any kind are a value or a WireDecodeError", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 64 }),
        value.map((before) => encodeWire(before, anyBytes)),
      ),
      fc.nat(),
      fc.nat(255),
      (bytes, at, byte) => {
        const changed = Buffer.from(bytes);
        if (changed.length > 0) changed[at % changed.length] = byte;
        try {
          decodeWire(changed);
        } catch (error) {
          assert.ok(error instanceof WireDecodeError, String(error));
        }
      },
    ),
    { numRuns: 1_000 },
  );
});
