import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import fc from "fast-check";
import { SecretMask, secretMask } from "./secret-mask.ts";

/** As a provider's keys are: a word, then chance. */
const secret = "sk-live-9fQ2xL7vB4mT1zR8kW3c";
const mask = new SecretMask([secret]);
const bytes = Buffer.from(secret);
const letters = Array.from(secret);
/** With what JSON, addresses and shells treat differently. */
const odd = 'tok/en"+1é?';

function isClean(text: string): boolean {
  // Pieces of eight that are no word are what may not be left.
  return !Array.from({ length: secret.length - 7 }, (_, at) => secret.slice(at, at + 8)).some(
    (piece) => /\d/.test(piece) && !piece.includes("-") && text.includes(piece),
  );
}

for (const [what, text] of [
  ["as it is", `the key is ${secret}.`],
  ["in JSON", JSON.stringify({ key: secret, deep: JSON.stringify({ secret }) })],
  ["in an address", `https://x/?key=${encodeURIComponent(secret)}&a=1`],
  ["in an address with every character escaped", [...bytes].map((byte) => `%${byte.toString(16)}`).join("")],
  ["in a string literal of escapes", [...bytes].map((byte) => `\\x${byte.toString(16)}`).join("")],
  ["in hex", bytes.toString("hex")],
  ["in capital hex", bytes.toString("hex").toUpperCase()],
  ["in hex with colons", bytes.toString("hex").replaceAll(/(..)(?!$)/g, "$1:")],
  ["from behind", letters.toReversed().join("")],
  ["in capital letters", secret.toUpperCase()],
  ["with a dash between all characters", letters.join("-")],
  ["with a line for each character", letters.join("\n")],
  ["as a list of characters", JSON.stringify(letters)],
  ["in groups of four", secret.match(/.{1,4}/g)!.join(" ")],
  [
    "in base64 with line breaks",
    bytes
      .toString("base64")
      .match(/.{1,10}/g)!
      .join("\r\n"),
  ],
] as const)
  test(`A secret is masked ${what}`, () => {
    const masked = mask.apply(text);
    assert.ok(masked.includes(secretMask), masked);
    assert.doesNotMatch(masked.replaceAll(secretMask, ""), /9fQ2|9FQ2|kW3|c3W|3963|OWZ/i);
  });

for (const [what, text] of [
  ["as it is", `the token ${odd} is`],
  ["in JSON", JSON.stringify({ token: odd })],
  ["in JSON of ASCII", `"${JSON.stringify(odd).slice(1, -1).replace("é", "\\u00e9")}"`],
  ["in an address", `https://x?token=${encodeURIComponent(odd)}`],
  ["in hex", Buffer.from(odd).toString("hex").toUpperCase()],
] as const)
  test(`A secret of few letters is ${what === "in JSON of ASCII" ? "not found" : "masked"} ${what}`, () => {
    assert.equal(mask.apply(text), text);
    assert.equal(new SecretMask([odd]).apply(text).includes(secretMask), what !== "in JSON of ASCII");
  });

test("A secret is masked in base64, whatever is before and behind it", () => {
  for (const value of [secret, odd])
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.constantFrom("base64", "base64url"), (before, behind, encoding) => {
        assert.ok(new SecretMask([value]).apply(Buffer.from(before + value + behind).toString(encoding)).includes(secretMask));
      }),
    );
});

test("Both pieces of a secret that is split are masked where they have eight characters that are no word", () => {
  for (let at = 8 + "sk-live-".length; at <= secret.length - 8; at++)
    for (const piece of [secret.slice(0, at), secret.slice(at)])
      for (const text of [piece, Buffer.from(piece).toString("base64"), Buffer.from(piece).toString("hex")])
        assert.ok(isClean(mask.apply(`{"part":"${text}"}`)), `${at}: ${mask.apply(text)}`);
});

test("What is left when a text is masked is the text around its secrets", () => {
  const words = fc.stringMatching(/^[a-z .,]{0,30}$/);
  fc.assert(
    fc.property(fc.array(words), (texts) => {
      const around = texts.map((text) => `${text} ^`);
      assert.equal(mask.apply(around.join(secret)), around.join(secretMask));
    }),
  );
});

test("A masked text of JSON is JSON", () => {
  const text = JSON.stringify({ whole: secret, list: [secret.slice(0, 14), secret.slice(14)], hex: bytes.toString("hex"), other: 1 });
  assert.deepEqual(JSON.parse(mask.apply(text)), { whole: secretMask, list: [secretMask], hex: secretMask, other: 1 });
});

test("A text without a secret stays, also where a secret has words of it", () => {
  const words = new SecretMask(["a", "the production database of the company", "https://ada:Hx7qpL2mVw9@db.example.com/production"]);
  for (const text of ["a banana", "the production database", "https://db.example.com", "production/database", "%zz \\q \\", "%", "\\u12"])
    assert.equal(words.apply(text), text);
  assert.equal(words.apply("the password is Hx7qpL2mVw9 here"), `the password is ${secretMask} here`);
});

test("Of a secret that ends in other characters none is left", () => {
  const value = "$%&Passw0rd-9fQ2xL7v!§()";
  const masked = new SecretMask([value]).apply(`<${value}> ${JSON.stringify(value)} ${encodeURIComponent(value)}`);
  assert.equal(masked, `<${secretMask}> "${secretMask}" ${secretMask}`);
});

test("No two secrets hide each other", () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-c1-3]{6,20}$/), { minLength: 1, maxLength: 8 }), (secrets) => {
      const masked = new SecretMask(secrets).apply(secrets.join(" | "));
      for (const each of secrets) assert.ok(!masked.includes(each), `${each} in ${masked}`);
    }),
  );
});

test("A secret of many lines is masked in a text that escapes them", () => {
  const pem = `-----BEGIN PRIVATE KEY-----\n${bytes.toString("base64")}\n${bytes.toString("hex")}\n-----END PRIVATE KEY-----`;
  const masked = new SecretMask([pem]).apply(JSON.stringify({ pem }));
  assert.deepEqual(JSON.parse(masked), { pem: secretMask });
});

test("A secret that is compressed is not found", () => {
  const text = gzipSync(secret).toString("base64");
  assert.equal(mask.apply(text), text);
});

test("The message, the trace and the causes of an error are masked, whatever made it", () => {
  const cause = new DOMException(`and ${secret}`, "AbortError");
  const error = new Error(`it said ${secret}`, { cause });
  Object.defineProperty(cause, "cause", { value: error });
  assert.equal(mask.applyToError(error), error);
  for (const text of [error.message, error.stack, cause.message, cause.stack]) {
    assert.ok(text!.includes(secretMask));
    assert.ok(!text!.includes(secret));
  }
});

test("The texts and the names of a value of JSON are masked, each by itself, and the rest of it stays", () => {
  const value = { [secret]: [secret, 1, null, { deep: bytes.toString("hex"), other: "x" }] };
  assert.deepEqual(mask.applyToTexts(value), { [secretMask]: [secretMask, 1, null, { deep: secretMask, other: "x" }] });
  assert.equal(new SecretMask([]).applyToTexts(value), value);
});

test("Many secrets and one that repeats itself are looked for in one pass", () => {
  const many = new SecretMask([...Array.from({ length: 50 }, (_, each) => secret + String(each)), "ab1".repeat(2_000), "a".repeat(5_000)]);
  for (const text of ["ab1".repeat(100_000), "a".repeat(300_000)]) assert.equal(many.apply(text), secretMask);
  assert.equal(many.apply("word ".repeat(100_000)), "word ".repeat(100_000));
});
