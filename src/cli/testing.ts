/** A program whose output is gathered instead of shown, for tests of the commands. */
import { Readable, Writable } from "node:stream";
import type { Program } from "./program.ts";
import { Terminal } from "./terminal.ts";

export interface TestProgram extends Program {
  readonly output: () => string;
  readonly notes: () => string;
  readonly signal: (signal: "SIGINT" | "SIGTERM") => void;
  readonly hangUp: () => void;
}

export function testProgram(
  options: Partial<Pick<Program, "variables" | "serve" | "diagnose" | "serveOptions">> & { readonly stdin?: string } = {},
): TestProgram {
  const [out, error] = [new Gathering(), new Gathering()];
  const listeners = new Set<(signal: "SIGINT" | "SIGTERM") => void>();
  const hangUpListeners = new Set<() => void>();
  return {
    version: "1.2.3",
    terminal: new Terminal({ out, error, hasColors: false }),
    input: Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    variables: options.variables ?? {},
    serveOptions: options.serveOptions ?? [{ name: "port", value: "number", meaning: "The port" }],
    onSignal: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onHangUp: (listener) => {
      hangUpListeners.add(listener);
      return () => hangUpListeners.delete(listener);
    },
    serve: options.serve ?? (() => Promise.reject(new Error("This program does not serve"))),
    diagnose: options.diagnose ?? (() => Promise.resolve([])),
    output: () => out.text,
    notes: () => error.text,
    signal: (signal) => {
      for (const listener of listeners) listener(signal);
    },
    hangUp: () => {
      for (const listener of hangUpListeners) listener();
    },
  };
}

class Gathering extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString("utf8");
    done();
  }
}
