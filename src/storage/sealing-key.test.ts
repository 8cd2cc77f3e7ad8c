import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../environment/real-environment.ts";
import { SealError, SealingKey } from "./sealing-key.ts";

const { random } = new RealEnvironment();
const key = new SealingKey("a secret of enough characters", random);

test("What is sealed opens again, under its name alone", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string(), fc.string(), (text, name, other) => {
      const sealed = key.seal(text, name);
      assert.equal(key.open(sealed, name), text);
      if (Buffer.from(other).equals(Buffer.from(name))) return;
      assert.throws(() => key.open(sealed, other), SealError);
    }),
  );
});

test("A value sealed twice looks different, and shows nothing of itself", () => {
  const [first, second] = [key.seal("a token", "t"), key.seal("a token", "t")];
  assert.notEqual(first, second);
  for (const sealed of [first, second]) assert.doesNotMatch(Buffer.from(sealed, "base64url").toString("latin1"), /token/);
});

test("Another key of the same form opens nothing", () => {
  assert.throws(() => new SealingKey("another secret of enough", random).open(key.seal("x", "n"), "n"), /another key, or is damaged/);
});

test("A key from the same secret opens what an earlier one sealed", () => {
  assert.equal(new SealingKey("a secret of enough characters", random).open(key.seal("x", "n"), "n"), "x");
});

test("No byte of a sealed value can change", () => {
  const sealed = Buffer.from(key.seal("a token", "t"), "base64url");
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed);
    changed[at]! ^= 1;
    assert.throws(() => key.open(changed.toString("base64url"), "t"), SealError, `byte ${at}`);
  }
  for (let length = 0; length < sealed.length; length++)
    assert.throws(() => key.open(sealed.subarray(0, length).toString("base64url"), "t"), SealError, `cut to ${length}`);
});

test("A short secret is refused", () => {
  assert.throws(() => new SealingKey("too short", random), /at least 16 characters/);
});
