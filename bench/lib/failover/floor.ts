/** Worker: PostgreSQL alone, updating the two rows that taking over a counter and adding to it writes. */
import pg from "pg";
import { answerQuestions } from "../worker.ts";

export interface FloorLoad {
  readonly address: string;
  readonly actors: number;
  readonly connections: number;
}

const headerBytes = 200;
const countBytes = 2;

answerQuestions({
  /** Gives the seconds that all updates took: each is one prepared statement and one commit. */
  update: async ({ address, actors, connections }: FloorLoad): Promise<number> => {
    const clients = await Promise.all(
      Array.from({ length: connections }, async () => {
        const client = new pg.Client({ connectionString: address });
        await client.connect();
        return client;
      }),
    );
    try {
      const [first] = clients;
      await first!.query("CREATE TABLE floor (key bytea PRIMARY KEY, value bytea NOT NULL)");
      await first!.query(
        `INSERT INTO floor SELECT convert_to('header' || n, 'UTF8'), decode(repeat('61', ${headerBytes}), 'hex') FROM generate_series(0, ${actors - 1}) n
         UNION ALL SELECT convert_to('state' || n, 'UTF8'), decode(repeat('61', ${countBytes}), 'hex') FROM generate_series(0, ${actors - 1}) n`,
      );
      const [header, count] = [Buffer.alloc(headerBytes, "b"), Buffer.alloc(countBytes, "b")];
      let next = 0;
      const begin = performance.now();
      await Promise.all(
        clients.map(async (client) => {
          while (next < actors) {
            const at = next++;
            await client.query({
              name: "update",
              text: "UPDATE floor SET value = new.value FROM (VALUES ($1::bytea, $2::bytea), ($3, $4)) AS new (key, value) WHERE floor.key = new.key",
              values: [Buffer.from(`header${at}`), header, Buffer.from(`state${at}`), count],
            });
          }
        }),
      );
      return (performance.now() - begin) / 1_000;
    } finally {
      await Promise.all(clients.map((client) => client.end()));
    }
  },
});
