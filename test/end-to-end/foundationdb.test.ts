/** What a start and `kelpie doctor` say of FoundationDB where its client is missing, as it is on most machines. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { kelpie, type Outcome } from "./kelpie-command.ts";

const directory = mkdtempSync(join(tmpdir(), "kelpie-foundationdb-"));
after(() => rmSync(directory, { recursive: true }));
const clusterFile = join(directory, "the cluster file");
writeFileSync(clusterFile, "test:test@127.0.0.1:4500\n");
const address = `foundationdb://${clusterFile.replaceAll(" ", "%20")}`;

async function startAndDoctor(store: string): Promise<{ readonly start: Outcome; readonly doctor: Outcome }> {
  const variables = { KELPIE_DISCOVER_LOCAL: "no", KELPIE_STORE: store };
  return {
    start: await kelpie(["serve", "--port", "0"], { variables }),
    doctor: await kelpie(["doctor", "--port", "0"], { variables }),
  };
}

function packageIsHere(): boolean {
  try {
    createRequire(import.meta.url).resolve("foundationdb");
    return true;
  } catch {
    return false;
  }
}

test(
  "Without FoundationDB's package it is said what to install",
  { skip: packageIsHere() ? "the package is installed" : false },
  async () => {
    const { start, doctor } = await startAndDoctor(address);
    const message = /FoundationDB needs its client library and the npm package foundationdb\. First .*npm install foundationdb@/;
    assert.deepEqual([start.code, start.output, doctor.code], [1, "", 1]);
    assert.match(start.notes, new RegExp(`^error: ${message.source}`));
    assert.match(doctor.output, new RegExp(`✖ store +${message.source}`));
  },
);

test("A cluster file that is not there is named", async () => {
  const { start, doctor } = await startAndDoctor(`foundationdb://${join(directory, "none")}`);
  assert.deepEqual([start.code, doctor.code], [1, 1]);
  for (const text of [start.notes, doctor.output]) assert.match(text, /The cluster file ".*none" cannot be read: copy \/etc\/foundationdb/);
});
