import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import type { CertificatePaths } from "./certificate-files.ts";
import { CertificateError, checkCertificates } from "./check-certificates.ts";
import { CertificateMaker, opensslMissing } from "./testing/certificate-maker.ts";

const maker = new CertificateMaker();
after(() => maker[Symbol.dispose]());

test("Certificates are checked before a node depends on them", { skip: opensslMissing ?? false }, async (context) => {
  maker.authority("authority");
  maker.authority("stranger");
  const node = maker.node("node", "authority");
  const other = maker.node("other", "authority");
  // Later than anything that is made here begins.
  const now = Date.now() + 60_000;

  await context.test("those that are right are told by when they end", () => {
    const { validUntil } = checkCertificates(node, now);
    assert.ok(validUntil.getTime() > now + 80_000_000 && validUntil.getTime() < now + 90_000_000);
  });

  await context.test("those between a node and the authority may stand behind the node's own, in any order", () => {
    maker.node("middle", "authority", { isAuthority: true });
    maker.node("lower", "middle", { isAuthority: true });
    const far = maker.node("far", "lower");
    const chain = ["far", "middle", "lower"].map((name) => readFileSync(maker.path(`${name}.pem`), "utf8")).join("");
    writeFileSync(far.certificate, chain);
    assert.ok(checkCertificates({ ...far, authority: node.authority }, now).validUntil.getTime() > now);
    writeFileSync(far.certificate, chain.slice(0, chain.indexOf("-----END CERTIFICATE-----") + 26));
    assert.throws(() => checkCertificates({ ...far, authority: node.authority }, now), /was not signed by the authority/);
  });

  const empty = maker.path("empty.pem");
  writeFileSync(empty, "");
  const broken = maker.path("broken.pem");
  writeFileSync(broken, "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n");
  for (const [what, paths, why] of [
    [
      "a certificate that is not there",
      { ...node, certificate: maker.path("none.pem") },
      /certificate cannot be read: .*none\.pem.*KELPIE_CLUSTER_CERTIFICATE/,
    ],
    ["a key that is not there", { ...node, key: maker.path("none.key") }, /key cannot be read: .*none\.key.*KELPIE_CLUSTER_KEY/],
    [
      "an authority that is not there",
      { ...node, authority: maker.path("none.pem") },
      /authority cannot be read: .*KELPIE_CLUSTER_AUTHORITY/,
    ],
    ["a folder in place of a file", { ...node, key: maker.directory }, /EISDIR.*KELPIE_CLUSTER_KEY/],
    ["an empty file", { ...node, certificate: empty }, /empty\.pem holds no certificate/],
    ["a damaged file", { ...node, authority: broken }, /broken\.pem holds a certificate that cannot be read/],
    ["a certificate in place of the key", { ...node, key: node.certificate }, /holds no private key/],
    ["the key of another certificate", { ...node, key: other.key }, /is not that of the certificate/],
    [
      "a certificate of another authority",
      { ...node, authority: maker.path("stranger.pem") },
      /not signed by the authority.*name the one that has \(CN=authority\)/,
    ],
    [
      "a certificate that has expired",
      maker.node("expired", "authority", { days: -1 }),
      /expired\.pem expired at \d{4}-.*put a new one in its place/,
    ],
  ] satisfies [string, CertificatePaths, RegExp][])
    await context.test(`${what} is told`, () =>
      assert.throws(
        () => checkCertificates(paths, now),
        (error) => error instanceof CertificateError && why.test(error.message),
      ),
    );

  await context.test("one that is not valid yet is told, and so is an authority that has expired", () => {
    assert.throws(() => checkCertificates(node, now - 86_400_000), /is valid from .* which is not yet: is this host's clock right/);
    maker.node("old-authority", "authority", { days: -1, isAuthority: true });
    assert.throws(() => checkCertificates(maker.node("late", "old-authority"), Date.now() + 1_000), /old-authority\.pem expired at/);
  });

  await context.test("nothing of a key is in any message", () => {
    const lines = readFileSync(node.key, "utf8").split("\n");
    const spoilt = maker.path("spoilt.key");
    writeFileSync(spoilt, [lines[0], lines[1]!.slice(3), ...lines.slice(2)].join("\n"));
    assert.throws(
      () => checkCertificates({ ...node, key: spoilt }, now),
      (error) => error instanceof CertificateError && lines.slice(1, -2).every((line) => !error.message.includes(line.slice(0, 10))),
    );
  });
});
