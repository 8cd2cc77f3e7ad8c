/**
 * Worker: fills a store with agents of two blocks each.
 *
 * The first agent is made through the HTTP API; the others have the same fields and rows, written by the same functions
 * as the API's (`createBlock`, `agents.insert`, `attachBlock`), many agents in one batch.
 */
import { statSync } from "node:fs";
import { type AgentRecord, agents } from "../../../src/agents/agent.ts";
import { RealEnvironment } from "../../../src/environment/real-environment.ts";
import { createKelpie, storeFile } from "../../../src/kelpie.ts";
import { attachBlock } from "../../../src/memory/block-agents.ts";
import { createBlock } from "../../../src/memory/block.ts";
import type { Store } from "../../../src/storage/store.ts";
import { Transaction } from "../../../src/storage/transaction.ts";
import { answerQuestions } from "../worker.ts";

export interface CreateOptions {
  readonly directory: string;
  readonly agents: number;
  /** Stops earlier when this time is over. */
  readonly secondsMax: number;
}

export interface CreateResult {
  readonly agents: number;
  readonly seconds: number;
  readonly bytesOnDisk: number;
  readonly rowsPerAgent: number;
  /** Some of the agents, spread over all. */
  readonly sample: readonly string[];
}

/** The agents of one batch: far below the limit of a batch in bytes. */
const agentsPerBatch = 1_000;
const sampleMost = 200_000;

const project = "default";
const environment = new RealEnvironment();
const blocks = [
  { label: "human", value: "This person is called Ada. She works on engines, and prefers short answers." },
  { label: "persona", value: "I am a helpful assistant who remembers what matters to people." },
];

answerQuestions({
  create: async ({ directory, agents: wanted, secondsMax }: CreateOptions): Promise<CreateResult> => {
    let result: Omit<CreateResult, "bytesOnDisk">;
    {
      await using kelpie = await createKelpie({ dataDirectory: directory });
      const response = await kelpie.app.request("/v1/agents", { method: "POST", body: JSON.stringify({ memory_blocks: blocks }) });
      if (response.status !== 200) throw new Error(`The first agent was refused: ${await response.text()}`);
      const { id } = (await response.json()) as { id: string };
      const [template] = await agents.read(kelpie.store, project, [id]);
      result = await fill(kelpie.store, template!, wanted, secondsMax);
    }
    return { ...result, bytesOnDisk: statSync(storeFile(directory)).size };
  },
});

async function fill(store: Store, template: AgentRecord, wanted: number, secondsMax: number): Promise<Omit<CreateResult, "bytesOnDisk">> {
  const begin = performance.now();
  const sample: string[] = [];
  const sampleEvery = Math.ceil(wanted / sampleMost);
  let [count, rows] = [0, 0];
  while (count < wanted && (performance.now() - begin) / 1_000 < secondsMax) {
    const transaction = new Transaction(store);
    const end = Math.min(count + agentsPerBatch, wanted);
    for (; count < end; count++) {
      const agent = addAgent(transaction, template, count);
      if (count % sampleEvery === 0) sample.push(agent.id);
    }
    rows += transaction.writes.length;
    const outcome = await store.commit(transaction.toBatch(environment.random.uuid()));
    if (!outcome.ok) throw new Error("A batch of new agents met agents that exist");
  }
  return { agents: count, seconds: (performance.now() - begin) / 1_000, rowsPerAgent: rows / count, sample };
}

function addAgent(transaction: Transaction, template: AgentRecord, number: number): AgentRecord {
  const now = new Date(environment.clock.now()).toISOString();
  const made = blocks.map((block) => createBlock(transaction, environment, project, block));
  const agent: AgentRecord = {
    ...template,
    id: `agent-${environment.random.uuid()}`,
    name: `Agent ${number}`,
    block_ids: made.map((block) => block.id),
    created_at: now,
    updated_at: now,
  };
  agents.insert(transaction, project, agent);
  for (const block of made) attachBlock(transaction, project, block.id, agent);
  return agent;
}
