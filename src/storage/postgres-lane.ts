/**
 * A lane: one connection at a time, and a numbered sequence of groups of batches that outlives it.
 *
 * L1. A lane sends a group only when the outcome of the one before is known.
 * L2. A group is one statement and its own transaction, which also writes the group's number and outcomes into the
 *     lane's row, if that number is higher than the one there.
 * L3. A group whose answer was lost is settled over a new connection: either its outcomes are in the row, or the
 *     row is given its number, so that an original that arrives late finds it taken and is undone.
 *
 * A lane belongs to the node and not to a session of the server, so it works through a transaction-pooling proxy. The
 * one thing in a session are prepared statements, which save a third of the server's work for a single batch: a name
 * stands for one text in all nodes, so it does not matter whose session it is in; and where a name is not known, or
 * known already, as behind an older proxy, the lane goes on without names.
 */
import { randomUUID } from "node:crypto";
import { Socket } from "node:net";
import type { Client, ClientConfig } from "pg";
import { decodeAnswers, decodeOutcomes, encodeGroup, encodeQueries, type ReadRow } from "./postgres-group.ts";
import { postgresCode } from "./postgres-errors.ts";
import { type History, identify, quote } from "./postgres-schema.ts";
import type { Answer, Batch, CommitOutcome, Query } from "./store.ts";

export interface LaneOptions {
  readonly Client: new (config: ClientConfig) => Client;
  readonly address: string;
  readonly schema: string;
  /** After this long without an answer the connection is given up. */
  readonly answerMillisecondsMax: number;
}

const connectMillisecondsMax = 5_000;
const keepAliveMilliseconds = 10_000;

export interface GroupResult {
  readonly timeline: number;
  /** `undefined`: the group was not applied and will not be. */
  readonly outcomes: readonly CommitOutcome[] | undefined;
}

export class PostgresLane {
  readonly #options: LaneOptions;
  readonly #id = randomUUID();
  readonly #texts: { readonly commit: string; readonly settle: string; readonly read: string };
  #lastGroup = 0;
  #usesNames = true;
  #connection: { readonly client: Client; readonly socket: Socket } | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
    const schema = quote(options.schema);
    this.#texts = {
      commit: `SELECT ${schema}.commit($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      settle: `SELECT ${schema}.settle($1, $2)`,
      read: `SELECT * FROM ${schema}.read($1, $2, $3, $4, $5)`,
    };
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  /** Connects and asks whose history the server writes; does `first` before that. Throws the driver's errors. */
  async connect(first: (client: Client) => Promise<void> = async () => {}): Promise<History> {
    let socket = new Socket();
    const client = new this.#options.Client({
      connectionString: this.#options.address,
      stream: () => (socket = new Socket()),
      connectionTimeoutMillis: connectMillisecondsMax,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAliveMilliseconds,
      application_name: "kelpie",
    });
    const connection = { client, socket };
    let isLost = false;
    const drop = (): void => {
      isLost = true;
      if (this.#connection === connection) this.#connection = undefined;
    };
    // Whoever waits for an answer is told by the driver as well.
    client.on("error", drop);
    client.on("end", drop);
    try {
      await client.connect();
      const history = await this.#within(
        socket,
        first(client).then(() => identify(client)),
      );
      // It may have ended with the very bytes that answered.
      if (isLost) throw new Error("The connection ended as soon as it was made");
      this.#connection = connection;
      return history;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** L1, L2. Throws the driver's errors: if one leaves the outcome open, `settle` comes next. */
  async commit(batches: readonly Batch[]): Promise<GroupResult & { readonly outcomes: readonly CommitOutcome[] }> {
    const parameters = encodeGroup(batches);
    const [row] = await this.#query<readonly [string]>(this.#texts.commit, [this.#id, String(++this.#lastGroup), ...parameters]);
    const { timeline, outcomes } = decodeOutcomes(row![0]);
    return { timeline, outcomes: outcomes ?? [] };
  }

  /** What became of the last group (L3). */
  async settle(): Promise<GroupResult> {
    const [row] = await this.#query<readonly [string]>(this.#texts.settle, [this.#id, String(this.#lastGroup)]);
    return decodeOutcomes(row![0]);
  }

  async read(queries: readonly Query[]): Promise<{ readonly timeline: number; readonly answers: readonly Answer[] }> {
    return decodeAnswers(queries, await this.#query<ReadRow>(this.#texts.read, encodeQueries(queries)));
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    await this.#within(connection.socket, connection.client.end()).catch(() => undefined); // It is closed either way.
  }

  /** Gives up the connection, whatever it is doing. */
  disconnect(): void {
    this.#connection?.socket.destroy();
    this.#connection = undefined;
  }

  async #query<Row extends readonly unknown[]>(text: string, values: readonly (string | boolean | Buffer)[]): Promise<readonly Row[]> {
    const connection = this.#connection;
    if (connection === undefined) throw new Error("The connection was closed");
    const name = this.#usesNames ? { name: text.slice(0, nameLengthMax) } : {};
    const query = { ...name, text, values: [...values], rowMode: "array" as const, types: asTexts };
    try {
      const { rows } = await this.#within(connection.socket, connection.client.query<Row & unknown[]>(query));
      return rows;
    } catch (error) {
      if (!this.#usesNames || !isOfName(error)) throw error;
      // The statement was not run.
      this.#usesNames = false;
      return await this.#query(text, values);
    }
  }

  async #within<T>(socket: Socket, work: Promise<T>): Promise<T> {
    const { answerMillisecondsMax } = this.#options;
    const timer = setTimeout(() => socket.destroy(new Error(`There was no answer for ${answerMillisecondsMax} ms`)), answerMillisecondsMax);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A text differs from the others of its schema, and from those of other schemas, in fewer characters. */
const nameLengthMax = 63;

/** "Prepared statement … does not exist", or "already exists". */
function isOfName(error: unknown): boolean {
  const code = postgresCode(error);
  return code === "26000" || code === "42P05";
}

/** The driver parses nothing: what comes is known, and decoded in `postgres-group.ts`. */
const asTexts: { getTypeParser: () => (text: string) => string } = { getTypeParser: () => (text) => text };
