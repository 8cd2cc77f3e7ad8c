import pg from "pg";
import type { PostgresEngine } from "./engines.ts";

/** Makes a database, and gives its address for `createKelpie` and `pg`. */
export async function makeDatabase(engine: PostgresEngine, name: string): Promise<string> {
  await query(postgresAddress(engine, "postgres"), `CREATE DATABASE ${name}`);
  return postgresAddress(engine, name);
}

export function postgresAddress({ user, socketDirectory }: PostgresEngine, database: string): string {
  return `postgres://${user}@localhost/${database}?host=${encodeURIComponent(socketDirectory)}`;
}

/** One statement over a connection of its own. */
export async function query<Row extends pg.QueryResultRow>(address: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: address });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}
