/** What commands need of the process that they run in. `main.ts` gives the real one, tests give theirs. */
import type { Readable } from "node:stream";
import type { Option } from "./command.ts";
import type { Terminal } from "./terminal.ts";

export interface Program {
  readonly version: string;
  readonly terminal: Terminal;
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** Calls `listener` at each SIGINT or SIGTERM; the function that it returns stops that. */
  onSignal(listener: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  /** Calls `listener` when the terminal is closed or the supervisor is gone; the function that it returns stops that. */
  onHangUp(listener: () => void): () => void;
  /** The options of `kelpie serve`, from the table of settings. */
  readonly serveOptions: readonly Option[];
  /**
   * Starts a server with these options and the variables.
   *
   * @throws {UsageError} An option or a variable is wrong.
   * @throws {CommandError} The server cannot start, and why.
   */
  serve(options: ReadonlyMap<string, string>): Promise<RunningServer>;
  /** What `kelpie doctor` looks at, with the same settings as `serve`. */
  diagnose(options: ReadonlyMap<string, string>): Promise<readonly Finding[]>;
}

export interface RunningServer {
  readonly url: string;
  /** Where everything is kept: a file, or the name of a database. */
  readonly data: string;
  /** What this node of a cluster is called, and which others there are. */
  readonly node: string | undefined;
  /** The handle that new agents get. */
  readonly model: string;
  readonly hasKey: boolean;
  /** Settings that were given and mean nothing here, one sentence each. */
  readonly warnings: readonly string[];
  /** Milliseconds from the start of the process until it was ready. */
  readonly startMilliseconds: number;
  /** Whether something starts it again when it has ended by a failure. */
  readonly isSupervised: boolean;
  /** Resolves if the server can go on no more, with the reason: the other nodes take this one to be dead. */
  readonly fenced: Promise<Error>;
  /** Finishes the steps in progress, commits, ends streams so that they can be resumed, and closes the store. */
  stop(): Promise<void>;
}

export interface Finding {
  readonly subject: string;
  readonly state: "ok" | "note" | "problem";
  readonly detail: string;
}
