import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { maskSecrets } from "./mask-secrets.ts";

const secret = 'tok/en"+1é?';
const secrets = { TOKEN: secret, SHORT: "a" };

for (const [what, text] of [
  ["as it is", `the token ${secret} is`],
  ["in JSON", JSON.stringify({ token: secret })],
  ["in an address", `https://x?token=${encodeURIComponent(secret)}`],
  ["in hex", Buffer.from(secret).toString("hex")],
  ["in upper hex", Buffer.from(secret).toString("hex").toUpperCase()],
] as const)
  test(`A secret is masked ${what}`, () => assert.match(maskSecrets(text, secrets), /\*{8}/));

test("A secret is masked in base64, whatever is before and behind it", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.constantFrom("base64", "base64url"), (before, behind, encoding) => {
      const text = Buffer.from(before + secret + behind).toString(encoding);
      assert.match(maskSecrets(text, secrets), /\*{8}/);
    }),
  );
});

test("A text without a secret stays, also where a secret is too short to look for", () => {
  assert.equal(maskSecrets("a banana", secrets), "a banana");
});
