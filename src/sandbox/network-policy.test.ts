import assert from "node:assert/strict";
import { test } from "node:test";
import { checkPolicy, hostMatches, isPublicAddress, type NetworkPolicy, normalHost } from "./network-policy.ts";

for (const [address, expected] of [
  ["8.8.8.8", true],
  ["1.1.1.1", true],
  ["93.184.216.34", true],
  ["2606:4700::1111", true],
  ["0.0.0.0", false],
  ["10.1.2.3", false],
  ["100.64.0.1", false],
  ["127.0.0.1", false],
  ["127.255.255.254", false],
  ["169.254.169.254", false],
  ["172.16.0.1", false],
  ["172.31.255.255", false],
  ["172.32.0.1", true],
  ["192.168.1.1", false],
  ["198.18.0.1", false],
  ["224.0.0.1", false],
  ["240.0.0.1", false],
  ["255.255.255.255", false],
  ["::", false],
  ["::1", false],
  ["::ffff:127.0.0.1", false],
  ["::ffff:8.8.8.8", false],
  ["::7f00:1", false],
  ["64:ff9b::7f00:1", false],
  ["2002:7f00:1::", false],
  ["2001:0:7f00:1::", false],
  ["2001:db8::1", false],
  ["fc00::1", false],
  ["fd12:3456::1", false],
  ["fe80::1", false],
  ["fe80::1%eth0", false],
  ["fec0::1", false],
  ["ff02::1", false],
  ["fd00:ec2::254", false],
  ["not an address", false],
  ["127.1", false],
  ["", false],
] as const)
  test(`${JSON.stringify(address)} is ${expected ? "" : "not "}a public address`, () => assert.equal(isPublicAddress(address), expected));

for (const [pattern, host, expected] of [
  ["a.test", "a.test", true],
  ["a.test", "b.a.test", false],
  ["*.a.test", "b.a.test", true],
  ["*.a.test", "c.b.a.test", true],
  ["*.a.test", "a.test", false],
  ["*.a.test", ".a.test", false],
  ["*.a.test", "xa.test", false],
  ["*.0.0.1", "127.0.0.1", false],
  ["127.0.0.1", "127.0.0.1", true],
] as const)
  test(`The rule ${pattern} is ${expected ? "" : "not "}for ${host}`, () => assert.equal(hostMatches(pattern, host), expected));

test("A host is compared in one form", () => {
  assert.deepEqual(["A.Test", "a.test.", "[::1]"].map(normalHost), ["a.test", "a.test", "::1"]);
});

const secret = { placeholder: "PLACEHOLDER", value: "s", hosts: ["a.test"] };
for (const [what, policy, says] of [
  ["a host with a scheme", { allow: [{ host: "https://a.test" }] }, /is no host/],
  ["a host with a port", { allow: [{ host: "a.test:443" }] }, /is no host/],
  ["a star alone", { allow: [{ host: "*" }] }, /is no host/],
  ["a star in the middle", { allow: [{ host: "a.*.test" }] }, /is no host/],
  ["capital letters, which would never match", { allow: [{ host: "A.test" }] }, /is no host/],
  ["an empty host", { allow: [{ host: "" }] }, /is no host/],
  ["a port that is none", { allow: [{ host: "a.test", ports: [0] }] }, /port 0/],
  ["a secret for a host that is not allowed", { allow: [{ host: "b.test" }], secrets: [secret] }, /which no rule allows/],
  [
    "a placeholder that texts would hold by chance",
    { allow: [{ host: "a.test" }], secrets: [{ ...secret, placeholder: "x" }] },
    /placeholder/,
  ],
  ["a secret with a line break", { allow: [{ host: "a.test" }], secrets: [{ ...secret, value: "a\r\nX: b" }] }, /is no header/],
  ["no bytes", { allow: [], bytesMax: 0 }, /bytesMax/],
  ["too many rules", { allow: Array.from({ length: 1_001 }, () => ({ host: "a.test" })) }, /at most 1000/],
] as const satisfies readonly (readonly [string, NetworkPolicy, RegExp])[])
  test(`A policy with ${what} is refused, and the error does not hold the secret`, () => {
    assert.throws(() => checkPolicy(policy), { name: "SandboxInputError", message: says });
  });

test("A policy is taken with names, addresses and domains", () => {
  checkPolicy({
    allow: [{ host: "a.test" }, { host: "*.b.test", ports: [8443] }, { host: "10.0.0.1", privateAddresses: true }, { host: "::1" }],
    secrets: [secret],
  });
});
