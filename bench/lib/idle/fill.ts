/**
 * Many agents in a database, made from one: its rows are what Kelpie itself wrote, and each copy has ids of its own in
 * their place, in keys and values. Everything else is the same: names, times, texts.
 */
import pg from "pg";
import { createKelpie } from "../../../src/kelpie.ts";

/** Copied in one statement. */
const agentsPerStatement = 20_000;
/** The end of an id, which in a copy is its number. */
const numberCharacters = 12;

export interface Filled {
  readonly rowsPerAgent: number;
  /** The id of the agent with this number. */
  agentId(number: number): string;
}

export async function fill(address: string, agents: number, onProgress: (made: number) => void): Promise<Filled> {
  const { id, before } = await makeOne(address);
  await using connections = new AsyncDisposableStack();
  const clients = [connections.use(await connect(address)), connections.use(await connect(address))] as const;
  const { client } = clients[0];
  await client.query(
    `CREATE TABLE original AS SELECT * FROM kelpie.entry
     WHERE version > ${before} AND encode(key || rest, 'escape') ~ '(agent|block|message)-[0-9a-f]{8}-'`,
  );
  const { rows } = await client.query<{ text: string }>("SELECT encode(key || rest || value, 'escape') AS text FROM original");
  const ids = new Set(rows.flatMap(({ text }) => text.match(/(?:agent|block|message)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? []));
  const statement = copyStatement(ids);
  let next = 1;
  await Promise.all(
    clients.map(async ({ client: each }) => {
      await each.query("SET synchronous_commit = off");
      while (next < agents) {
        const [from, to] = [next, Math.min(next + agentsPerStatement, agents)];
        next = to;
        await each.query(statement, [from, to - 1]);
        onProgress(to);
      }
    }),
  );
  await client.query("DROP TABLE original");
  // What PostgreSQL would do by and by, while nodes are measured.
  await client.query("VACUUM ANALYZE");
  await client.query("CHECKPOINT");
  return { rowsPerAgent: rows.length, agentId: (number) => (number === 0 ? id : headOf(id) + hexNumber(number)) };
}

/** An agent with a block, whose conversation has begun: a node had it in memory, and has ended. */
async function makeOne(address: string): Promise<{ readonly id: string; readonly before: string }> {
  await using kelpie = await createKelpie({ storeAddress: address });
  await using connection = await connect(address);
  const { rows } = await connection.client.query<{ version: string }>("SELECT max(version) AS version FROM kelpie.entry");
  const call = async (method: string, path: string, body: unknown): Promise<{ readonly id: string }> => {
    const response = await kelpie.app.request(path, { method, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${path} was answered with ${response.status}: ${await response.text()}`);
    return (await response.json()) as { readonly id: string };
  };
  const memory_blocks = [{ label: "human", value: "Name: Ada" }];
  const { id } = await call("POST", "/v1/agents/", { model: "kelpie/demo", memory_blocks });
  await call("PATCH", `/v1/agents/${id}/reset-messages`, {});
  return { id, before: rows[0]!.version };
}

function headOf(id: string): string {
  return id.slice(0, -numberCharacters);
}

function hexNumber(number: number): string {
  return number.toString(16).padStart(numberCharacters, "0");
}

/** Copies the original's rows for the numbers from $1 to $2: puts the number into every id, in the hexadecimal text of the bytes. */
function copyStatement(ids: Iterable<string>): string {
  const hex = (text: string): string => Buffer.from(text).toString("hex");
  const copied = (column: string): string => {
    let text = `encode(${column}, 'hex')`;
    for (const id of ids) text = `replace(${text}, '${hex(id)}', '${hex(headOf(id))}' || number)`;
    return `decode(${text}, 'hex')`;
  };
  return `INSERT INTO kelpie.entry (version, key, rest, value)
    SELECT version, ${copied("key")}, ${copied("rest")}, ${copied("value")}
    FROM (SELECT encode(convert_to(lpad(to_hex(n), ${numberCharacters}, '0'), 'UTF8'), 'hex') AS number
          FROM generate_series($1::bigint, $2::bigint) AS n) AS numbers, original`;
}

async function connect(address: string): Promise<{ readonly client: pg.Client } & AsyncDisposable> {
  const client = new pg.Client({ connectionString: address });
  await client.connect();
  return { client, [Symbol.asyncDispose]: () => client.end() };
}
