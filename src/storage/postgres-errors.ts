/** What errors of PostgreSQL, of a proxy before it and of the socket mean for a store (https://www.postgresql.org/docs/current/errcodes-appendix.html). */

/**
 * - `conflict`: undone, as another transaction was in its way; to be done again.
 * - `suspect`: undone, and of a group of batches perhaps one alone is to blame.
 * - `moved`: undone, as this server takes no writes any more; another one may.
 * - `refused`: undone, and would be again.
 * - `lost`: whether it was done is not known.
 */
export type PostgresErrorKind = "conflict" | "suspect" | "moved" | "refused" | "lost";

/** Of what a statement that is its own transaction came to. */
export function postgresErrorKind(error: unknown): PostgresErrorKind {
  const code = postgresCode(error) ?? "";
  if (code === "40001" || code === "40P01") return "conflict";
  if (code === "25006" || code === "55000") return "moved";
  // A lock that stayed taken, out of memory, canceled; a value or a statement that is too large.
  if (/^(55P03|53200|57014|22|54)/.test(code)) return "suspect";
  // Class 08 is the connection's, 57P is a server that stops, XX may be a crash: all may come after the commit.
  return /^(0A|23|25|28|3D|3F|42|53|55)/.test(code) ? "refused" : "lost";
}

/** The SQLSTATE of an error of the server; `undefined` for one of the socket. */
export function postgresCode(error: unknown): string | undefined {
  if (!(error instanceof Error && "code" in error && typeof error.code === "string")) return undefined;
  return /^[0-9A-Z]{5}$/.test(error.code) && !error.code.startsWith("E") ? error.code : undefined;
}

export function postgresMessage(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return postgresMessage(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}

/** What to tell a person: the cause in its own words, and what to do about it. */
export function explainPostgresError(error: unknown): string {
  const message = postgresMessage(error);
  const advice = adviceFor(error);
  return advice === undefined ? message : `${message}. ${advice}`;
}

function adviceFor(error: unknown): string | undefined {
  const code = postgresCode(error) ?? (error instanceof Error && "code" in error ? String(error.code) : "");
  if (code === "55000" && /not currently accepting connections/.test(postgresMessage(error)))
    return "Allow them again: ALTER DATABASE … WITH ALLOW_CONNECTIONS true";
  const advices: { readonly [code: string]: string } = {
    "28P01": "Check the user and the password in the store's address",
    "28000": "Check the user in the store's address, and pg_hba.conf of the server",
    "3D000": "Create the database, or name another one in the store's address",
    "3F000": "The store's schema was dropped: restore it, or restart Kelpie to make an empty one",
    "42P01": "A table of the store was dropped: restore a backup",
    "42883": "A function of the store was dropped: restore a backup",
    "42501": "Make the database user the owner of the store's schema",
    "25006": "The database takes no writes: it is a standby or read-only. Name the primary, or an address that follows it",
    "55000": "Name the primary, or an address that follows it",
    "53100": "The server's disk is full. Nothing was written; it goes on when there is space",
    "53300": "Raise max_connections, put a pooling proxy in front, or give Kelpie fewer connections",
    "57014": "The server's statement_timeout may be too short for Kelpie",
    "57P03": "The server is starting or recovering",
    ECONNREFUSED: "Is the server running, and is the store's address right?",
    ENOENT: "Is the server running, and is the path of its socket right?",
    ENOTFOUND: "Check the host name in the store's address",
  };
  return advices[code];
}
