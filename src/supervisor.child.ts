/** A server for the tests of its supervisor. Its argument says what each start of it does, in their order. */
import { appendFileSync, readFileSync } from "node:fs";
import type { StorePlace } from "./open-store.ts";
import { takeSupervisor } from "./supervision.ts";

export interface Start {
  readonly node?: { readonly name: string; readonly place: StorePlace };
  /** Where it is ready. */
  readonly port?: number;
  /** Ends by itself with this code; absent: it waits for signals, and ends in order at the first one. */
  readonly code?: number;
  /** Takes no signal. */
  readonly isDeaf?: boolean;
}

const [file, starts] = [process.argv[2]!, JSON.parse(process.argv[3]!) as readonly Start[]];
appendFileSync(file, "x");
const { node, port, code, isDeaf } = starts[readFileSync(file).length - 1]!;
const supervisor = takeSupervisor();
if (node !== undefined) supervisor?.named(node.name, node.place);
if (port !== undefined) supervisor?.ready(port);
const end = (how: string): void => {
  process.stdout.write(`${how}\n`);
  if (isDeaf === undefined) process.exit(0);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(signal));
process.on("disconnect", () => end("alone"));
process.stdout.write(`${JSON.stringify({ pid: process.pid, port: supervisor?.before?.port })}\n`);
// What was told is read before the channel closes with the process.
if (code !== undefined) setTimeout(() => process.exit(code), 100);
