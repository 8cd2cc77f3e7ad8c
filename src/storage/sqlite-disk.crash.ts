/**
 * A process that writes until its disk fails, for the tests of failing disks: one line of JSON for each thing tried.
 *
 *     node src/storage/sqlite-disk.crash.ts PATH full|limit
 */
import { rmSync, writeFileSync, writeSync } from "node:fs";
import { join, dirname } from "node:path";
import { SqliteStore } from "./sqlite-store.ts";

const [path, fault] = process.argv.slice(2) as [string, "full" | "limit"];
const store = await SqliteStore.open(path);
// Takes space that can be given back.
const ballast = join(dirname(path), "ballast");
if (fault === "full") writeFileSync(ballast, Buffer.alloc(1_500_000));

let rows = 0;
async function attempt(what: string, work: () => Promise<unknown>): Promise<boolean> {
  const outcome = await work().then(
    () => ({ ok: true }),
    (error: Error) => ({ ok: false, name: error.name, message: error.message }),
  );
  writeSync(1, JSON.stringify({ what, rows, ...outcome }) + "\n");
  return outcome.ok;
}

/** Two rows in one batch, so that half a batch would be seen. */
async function writeRows(): Promise<void> {
  const value = Buffer.alloc(20_000, 1);
  const writes = ["a", "b"].map((part) => ({ kind: "set" as const, key: Buffer.from(`${String(rows).padStart(6, "0")}${part}`), value }));
  await store.commit({ id: `rows ${rows}`, checks: [], writes });
  rows++;
}

while (await attempt("write", writeRows));
await attempt("write again", writeRows);
await attempt("read", () => store.read([{ key: Buffer.from("000000a") }]));
if (fault === "full") {
  rmSync(ballast);
  await attempt("write with space", writeRows);
}
await store[Symbol.asyncDispose]();
