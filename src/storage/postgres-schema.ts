/**
 * What a `PostgresStore` keeps in a database: one schema with its tables and functions, made and brought forward here.
 *
 * G1. A schema that is not Kelpie's, or is from a newer Kelpie, is refused before anything in it changes.
 * G2. Everything is made in one transaction, under a lock, so nodes that start together find it whole.
 */
import type { Client } from "pg";
import { postgresCode, postgresMessage } from "./postgres-errors.ts";
import { commitFunction, readFunction, settleFunction, timelineExpression } from "./postgres-functions.ts";
import { timelineFactor } from "./postgres-version.ts";

/** A database cannot be used as it is. The message says what is wrong and what to do. */
export class PostgresDatabaseError extends Error {
  override readonly name = "PostgresDatabaseError";
}

/**
 * Each brings a schema, whose quoted name it is given, one format forward. The format is how many it has seen. A
 * function whose parameters change gets another name: nodes of both formats may share sessions of a proxy.
 */
const migrations: readonly ((schema: string) => string)[] = [
  (schema) => `
    CREATE TABLE ${schema}.store (application text NOT NULL, format integer NOT NULL);
    INSERT INTO ${schema}.store VALUES ('Kelpie', 0);

    -- The key is in front of every index, so the table may be partitioned by ranges of it.
    CREATE TABLE ${schema}.entry (
      version bigint NOT NULL,
      key bytea NOT NULL,
      rest bytea NOT NULL,
      rest_hash bytea NOT NULL GENERATED ALWAYS AS (CASE WHEN rest = '' THEN '' ELSE sha256(rest) END) STORED,
      value bytea NOT NULL
    ) WITH (fillfactor = 90);
    CREATE UNIQUE INDEX entry_by_key ON ${schema}.entry (key, rest_hash);
    CREATE SEQUENCE ${schema}.version MAXVALUE ${timelineFactor - 1};

    -- The outcomes of the last group of batches of each lane (postgres-lane.ts).
    CREATE TABLE ${schema}.lane (
      id uuid PRIMARY KEY,
      last_group bigint NOT NULL,
      outcomes bigint[],
      used timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 50);

    CREATE FUNCTION ${schema}.wrap(number numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
      SELECT (mod(mod(number + 9223372036854775808, 18446744073709551616) + 18446744073709551616, 18446744073709551616)
        - 9223372036854775808)::bigint
    $$;

    -- counter.ts in SQL: 8 bytes, little-endian; anything else counts as 0.
    CREATE FUNCTION ${schema}.add_to_counter(value bytea, amount bigint) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
    DECLARE
      big bytea := int8send(${schema}.wrap(amount::numeric + CASE WHEN length(value) = 8 THEN
        (get_byte(value, 0)::bigint << 0) |
        (get_byte(value, 1)::bigint << 8) |
        (get_byte(value, 2)::bigint << 16) |
        (get_byte(value, 3)::bigint << 24) |
        (get_byte(value, 4)::bigint << 32) |
        (get_byte(value, 5)::bigint << 40) |
        (get_byte(value, 6)::bigint << 48) |
        (get_byte(value, 7)::bigint << 56)
      ELSE 0 END));
    BEGIN
      RETURN substr(big, 8, 1) || substr(big, 7, 1) || substr(big, 6, 1) || substr(big, 5, 1) ||
        substr(big, 4, 1) || substr(big, 3, 1) || substr(big, 2, 1) || substr(big, 1, 1);
    END $$;
    ${commitFunction(schema)}
    ${settleFunction(schema)}
    ${readFunction(schema)}`,
];

/** One migration at a time in a database; any number that nobody else is likely to use. */
const migrationLock = 0x4b454c50;

/** The history that a server writes. */
export interface History {
  readonly systemIdentifier: string;
  readonly timeline: number;
}

/**
 * Asks a server whose history it writes.
 *
 * @throws {PostgresDatabaseError} It writes none.
 */
export async function identify(client: Client): Promise<History> {
  const { rows } = await client.query<{ standby: boolean; identifier: string; timeline: string }>(
    `SELECT pg_is_in_recovery() AS standby, (SELECT system_identifier::text FROM pg_control_system()) AS identifier,
       CASE WHEN NOT pg_is_in_recovery() THEN ${timelineExpression} END AS timeline`,
  );
  const { standby, identifier, timeline } = rows[0]!;
  if (standby)
    throw new PostgresDatabaseError("The server is a standby, which takes no writes: name the primary, or an address that follows it");
  return { systemIdentifier: identifier, timeline: Number(timeline) };
}

/** Makes sure that the store's promises can be kept there. Returns what weakens them, in sentences. */
async function examine(client: Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ server: number; isolation: string; read_only: boolean; fsync: boolean }>(
    `SELECT current_setting('server_version_num')::int AS server, current_setting('fsync')::bool AS fsync,
       current_setting('default_transaction_isolation') AS isolation, current_setting('transaction_read_only')::bool AS read_only`,
  );
  const { server, isolation, read_only, fsync } = rows[0]!;
  const version = Math.floor(server / 10_000);
  if (version < serverVersionMin)
    throw new PostgresDatabaseError(`The server is PostgreSQL ${version}: Kelpie needs ${serverVersionMin} or newer`);
  if (read_only)
    throw new PostgresDatabaseError("The database takes no writes (default_transaction_read_only is on): Kelpie must be able to write");
  if (isolation !== "read committed")
    throw new PostgresDatabaseError(
      `The database's default_transaction_isolation is "${isolation}" and must be "read committed": ALTER ROLE … SET default_transaction_isolation = 'read committed'`,
    );
  return fsync ? [] : ["PostgreSQL runs with fsync = off: a crash of its machine can lose or damage what was acknowledged"];
}

/** 0: there is nothing in the schema yet. */
async function inspect(client: Client, schema: string): Promise<{ readonly exists: boolean; readonly format: number }> {
  const { rows } = await client.query<{ exists: boolean; has_contents: boolean; has_store: boolean }>(
    `SELECT to_regnamespace($1::text) IS NOT NULL AS exists,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1::text)) AS has_contents,
       to_regclass($1::text || '.store') IS NOT NULL AS has_store`,
    [quote(schema)],
  );
  const { exists, has_contents, has_store } = rows[0]!;
  if (has_contents && !has_store) throw foreign(schema);
  return { exists, format: has_store ? await formatOf(client, schema) : 0 };
}

/** @throws {PostgresDatabaseError} G1. */
async function formatOf(client: Client, schema: string): Promise<number> {
  let row: { readonly application: string; readonly format: number } | undefined;
  try {
    row = (await client.query<{ application: string; format: number }>(`SELECT application, format FROM ${quote(schema)}.store`)).rows[0];
  } catch (error) {
    if (postgresCode(error) !== undefinedColumn) throw error;
  }
  if (row?.application !== "Kelpie") throw foreign(schema);
  if (row.format > migrations.length)
    throw new PostgresDatabaseError(
      `The schema "${schema}" has format ${row.format}, made by a newer Kelpie; this one knows formats up to ${migrations.length}. Upgrade Kelpie, or name another schema`,
    );
  return row.format;
}

function foreign(schema: string): PostgresDatabaseError {
  return new PostgresDatabaseError(
    `The schema "${schema}" of this database is another program's: it was left as it is. Name another schema or database for the store`,
  );
}

/**
 * What `prepareSchema` would find, without changing anything.
 *
 * @throws {PostgresDatabaseError}
 */
export async function inspectSchema(
  client: Client,
  schema: string,
): Promise<{ readonly isMade: boolean; readonly warnings: readonly string[] }> {
  const warnings = await examine(client);
  return { isMade: (await inspect(client, schema)).format > 0, warnings };
}

/**
 * Makes the schema if there is none, and brings an older one forward. Returns what weakens the store's promises.
 *
 * @throws {PostgresDatabaseError}
 */
export async function prepareSchema(client: Client, schema: string): Promise<readonly string[]> {
  const warnings = await examine(client);
  if ((await inspect(client, schema)).format === migrations.length) return warnings;
  await client.query("BEGIN");
  try {
    await client.query("SELECT pg_advisory_xact_lock($1)", [migrationLock]);
    // Looked at again under the lock: another node may have done it meanwhile.
    const { exists, format } = await inspect(client, schema);
    if (!exists) await client.query(`CREATE SCHEMA ${quote(schema)}`);
    for (const migration of migrations.slice(format)) await client.query(migration(quote(schema)));
    await client.query(`UPDATE ${quote(schema)}.store SET format = $1`, [migrations.length]);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined); // The connection is gone, and the transaction with it.
    if (postgresCode(error) !== insufficientPrivilege) throw error;
    throw new PostgresDatabaseError(
      `The database user may not make the schema "${schema}" (${postgresMessage(error)}): grant CREATE on the database, or make the user the owner of an empty schema of this name`,
      { cause: error },
    );
  }
  return warnings;
}

/**
 * Deletes the rows of lanes that were last used a week ago: of processes that have ended, as a lane whose group is in
 * doubt settles it as soon as there is a connection. Rows are made by processes that open the store, so it is enough
 * that these delete them.
 */
export async function forgetOldLanes(client: Client, schema: string): Promise<void> {
  await client.query(`DELETE FROM ${quote(schema)}.lane WHERE used < now() - interval '7 days'`);
}

const serverVersionMin = 13;
const undefinedColumn = "42703";
const insufficientPrivilege = "42501";

/** The schema's name for SQL. Only names that need no quotes are taken, and no longer than a prepared statement's name has room for. */
export function quote(schema: string): string {
  if (!/^[a-z_][a-z0-9_]{0,39}$/.test(schema))
    throw new PostgresDatabaseError(
      `A schema's name has 1 to 40 of a-z, 0-9 and _, not beginning with a digit: ${JSON.stringify(schema.slice(0, 60))} is none`,
    );
  return `"${schema}"`;
}
