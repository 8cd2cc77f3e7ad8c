import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesToMapKey, compareBytes, concatBytes, equalBytes, keyAfter, prefixEnd } from "./bytes.ts";

const anyBytes = fc.array(fc.constantFrom(0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff), { maxLength: 4 }).map((bytes) => Uint8Array.from(bytes));
const many = { numRuns: 3_000 };

for (const [left, right, sign] of [
  [[], [], 0],
  [[], [0], -1],
  [[0x7f], [0x80], -1],
  [[0xff], [0xff, 0x00], -1],
  [[1, 2], [1, 2], 0],
  [[2], [1, 255], 1],
] as const)
  test(`compareBytes([${left}], [${right}]) has the sign ${sign}`, () => {
    assert.equal(Math.sign(compareBytes(Uint8Array.from(left), Uint8Array.from(right))), sign);
    assert.equal(equalBytes(Uint8Array.from(left), Uint8Array.from(right)), sign === 0);
  });

test("prefixEnd is the first key after all that start with the prefix", () => {
  const startsWith = (key: Uint8Array, prefix: Uint8Array): boolean => equalBytes(key.subarray(0, prefix.length), prefix);
  const prefixes = anyBytes.filter((prefix) => prefix.some((byte) => byte !== 0xff));
  const property = fc.property(prefixes, anyBytes, anyBytes, (prefix, suffix, other) => {
    const end = prefixEnd(prefix);
    for (const key of [concatBytes(prefix, suffix), other]) {
      const isBetween = compareBytes(key, prefix) >= 0 && compareBytes(key, end) < 0;
      assert.equal(isBetween, startsWith(key, prefix));
    }
  });
  fc.assert(property, many);
});

for (const prefix of [[], [0xff], [0xff, 0xff]])
  test(`prefixEnd refuses [${prefix}], which has none`, () => assert.throws(() => prefixEnd(Uint8Array.from(prefix)), RangeError));

test("nothing is between a key and the one after it", () => {
  const property = fc.property(anyBytes, anyBytes, (key, other) => {
    assert.ok(compareBytes(key, keyAfter(key)) < 0);
    assert.equal(compareBytes(other, key) > 0, compareBytes(other, keyAfter(key)) >= 0);
  });
  fc.assert(property, many);
});

test("map keys stand for bytes one to one and in the same order, also for a part of a larger array", () => {
  const property = fc.property(anyBytes, anyBytes, (left, right) => {
    const [leftName, rightName] = [bytesToMapKey(left), bytesToMapKey(concatBytes(Uint8Array.of(9), right).subarray(1))];
    assert.equal(leftName < rightName ? -1 : Number(leftName > rightName), Math.sign(compareBytes(left, right)));
  });
  fc.assert(property, many);
});
