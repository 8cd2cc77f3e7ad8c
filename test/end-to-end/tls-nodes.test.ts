/** Nodes that speak TLS with each other, as real processes with certificates of `openssl`. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, readFileSync } from "node:fs";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { ServerProcess } from "../../examples/start-server.ts";
import { parseAddress } from "../../src/cluster/address.ts";
import type { CertificatePaths } from "../../src/cluster/certificate-files.ts";
import { CertificateMaker, opensslMissing } from "../../src/cluster/testing/certificate-maker.ts";
import { answerFrom, clusterAt, membersAt, newAgent } from "./cluster-client.ts";
import { kelpie, type Outcome } from "./kelpie-command.ts";

const skip = opensslMissing ?? false;
const quick = { KELPIE_DEMO_TOKEN_MILLISECONDS: "0", KELPIE_LEAVE_SECONDS: "0" };
const maker = new CertificateMaker();
after(() => maker[Symbol.dispose]());
if (opensslMissing === undefined) for (const name of ["authority", "stranger"]) maker.authority(name);

function variablesOf({ certificate, key, authority }: CertificatePaths): Record<string, string> {
  return { KELPIE_CLUSTER_CERTIFICATE: certificate, KELPIE_CLUSTER_KEY: key, KELPIE_CLUSTER_AUTHORITY: authority };
}

/** What becomes of a start that is to be refused. */
async function refusedStart(variables: Readonly<Record<string, string>>): Promise<Outcome> {
  return await kelpie(["serve", "--port", "0", "--json"], { variables: { KELPIE_DISCOVER_LOCAL: "no", ...quick, ...variables } });
}

/** The serial number of the certificate that a node shows to others. */
async function serialOf(url: string, by: CertificatePaths): Promise<string> {
  const { node, members } = await clusterAt(url);
  const { host, port } = parseAddress(members.find((member) => member.node === node)!.address!);
  const [cert, key, ca] = [by.certificate, by.key, by.authority].map((path) => readFileSync(path));
  const socket = connect({ host, port, cert: cert!, key: key!, ca: ca!, checkServerIdentity: () => undefined });
  await once(socket, "secureConnect");
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

async function agentsAnswer(one: ServerProcess, other: ServerProcess): Promise<void> {
  const agents = await Promise.all(Array.from({ length: 6 }, () => newAgent(one.url)));
  for (const id of agents) await answerFrom(one.url, id, "Remember that my name is Ada");
  for (const id of agents) assert.match(await answerFrom(other.url, id, "What is my name?"), /Ada/);
}

test("Nodes with certificates share their agents, also after the certificates were renewed", { skip }, async () => {
  const [first, second] = [maker.node("node1", "authority"), maker.node("node2", "authority")];
  await using node1 = await ServerProcess.start({ KELPIE_NODE: "node1", ...quick, ...variablesOf(first) });
  await using node2 = await ServerProcess.start({ KELPIE_NODE: "node2", KELPIE_JOIN: node1.url, ...quick, ...variablesOf(second) });
  assert.deepEqual(await membersAt(node1.url, 2), ["node1 up", "node2 up"]);
  await agentsAnswer(node1, node2);
  const before = await serialOf(node1.url, second);
  for (const [name, paths] of [
    ["renewed1", first],
    ["renewed2", second],
  ] as const) {
    const renewed = maker.node(name, "authority");
    copyFileSync(renewed.key, paths.key);
    copyFileSync(renewed.certificate, paths.certificate);
  }
  while ((await serialOf(node1.url, second)) === before) await sleep(200);
  await agentsAnswer(node2, node1);
  assert.deepEqual(await membersAt(node2.url, 2), ["node1 up", "node2 up"]);
});

test("A node that has no TLS, or a stranger's certificate, does not join one that has TLS", { skip }, async () => {
  await using secure = await ServerProcess.start({ KELPIE_NODE: "secure", ...quick, ...variablesOf(maker.node("secure", "authority")) });
  const joining = { KELPIE_NODE: "other", KELPIE_JOIN: secure.url };
  for (const [variables, why] of [
    [joining, /^error: Cannot join at .*only one side has TLS/],
    [{ KELPIE_NODE: "other", KELPIE_DATA: secure.folder }, /^error: Node secure#\w+ speaks TLS .*KELPIE_CLUSTER_CERTIFICATE/],
    [
      { ...joining, ...variablesOf(maker.node("foreign", "stranger")) },
      /^error: Cannot join .*its certificate is not one that the cluster's authority has signed/,
    ],
  ] as const) {
    const { code, notes, output } = await refusedStart(variables);
    assert.deepEqual([code, output], [1, ""], notes);
    assert.match(notes, why);
  }
  assert.deepEqual(await membersAt(secure.url, 1), ["secure up"]);
  await answerFrom(secure.url, await newAgent(secure.url), "Hello");
});

test("A node with TLS does not join one that has none", { skip }, async () => {
  await using plain = await ServerProcess.start({ KELPIE_NODE: "plain", ...quick });
  const certificates = variablesOf(maker.node("lonely", "authority"));
  for (const [variables, why] of [
    [{ KELPIE_JOIN: plain.url }, /^error: Cannot join .*or it speaks no TLS/],
    [{ KELPIE_DATA: plain.folder }, /^error: Cannot join .*or it speaks no TLS/],
  ] as const) {
    const { code, notes } = await refusedStart({ KELPIE_NODE: "secure", ...certificates, ...variables });
    assert.equal(code, 1, notes);
    assert.match(notes, why);
  }
  assert.deepEqual(await membersAt(plain.url, 1), ["plain up"]);
});

test("A node over the same store with another secret is refused when it starts", { skip }, async () => {
  await using first = await ServerProcess.start({ KELPIE_NODE: "first", KELPIE_CLUSTER_SECRET: "a-secret-of-this-test", ...quick });
  const { code, notes } = await refusedStart({
    KELPIE_NODE: "second",
    KELPIE_CLUSTER_SECRET: "another-secret-of-this-test",
    KELPIE_DATA: first.folder,
  });
  assert.equal(code, 1, notes);
  assert.match(notes, /^error: Cannot join .*: Node second#\w+ and node first#\w+, which it called, have different cluster secrets/);
  assert.deepEqual(await membersAt(first.url, 1), ["first up"]);
});

test("Certificates that are of no use are told at the start, and by doctor", { skip }, async () => {
  const expired = variablesOf(maker.node("expired", "authority", { days: -1 }));
  const { code, notes } = await refusedStart({ KELPIE_NODE: "node1", KELPIE_DATA: maker.path("data"), ...expired });
  assert.equal(code, 1);
  assert.match(notes, /^error: The certificate in .*expired\.pem expired at .*: put a new one in its place\n$/);
  const doctor = await kelpie(["doctor", "--port", "0", "--data", maker.path("data")], {
    variables: { KELPIE_NODE: "node1", KELPIE_DISCOVER_LOCAL: "no", ...expired },
  });
  assert.equal(doctor.code, 1);
  assert.match(doctor.output, /✖ certificate +The certificate in .* expired/);
  const half = await refusedStart({ KELPIE_NODE: "node1", KELPIE_CLUSTER_KEY: maker.path("expired.key") });
  assert.equal(half.code, 2);
  assert.match(half.notes, /KELPIE_CLUSTER_CERTIFICATE and KELPIE_CLUSTER_AUTHORITY must be set too/);
});
