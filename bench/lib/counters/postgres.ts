/** Worker: counters in PostgreSQL by one upsert statement, behind a bare `node:http`. */
import { Pool } from "pg";
import { answerQuestions } from "../worker.ts";
import { serveCounters } from "./front.ts";

/** More than this was slower on two cores, and less could not keep 256 callers busy. */
export const connections = 32;

let pool: Pool | undefined;

answerQuestions(
  {
    start: async ({ socketDirectory, user }: { socketDirectory: string; user: string }): Promise<number> => {
      const opened = (pool = new Pool({ host: socketDirectory, user, database: "postgres", max: connections }));
      await opened.query("CREATE TABLE counter (key text PRIMARY KEY, value bigint NOT NULL)");
      // Prepared once on each connection, by its name.
      const upsert = {
        name: "add",
        text: "INSERT INTO counter VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = counter.value + excluded.value RETURNING value",
      };
      const { port } = await serveCounters(async (key, by) => {
        const { rows } = await opened.query<{ value: string }>({ ...upsert, values: [key, by] });
        return Number(rows[0]!.value);
      });
      return port;
    },
  },
  async () => await pool?.end(),
);
