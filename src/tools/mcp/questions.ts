/**
 * What servers ask a person in the middle of a call, as rows: a person may answer at any node.
 *
 * A question ends with its call. Its row is taken away by whoever asked; of a process that died, by its expiry.
 */
import { type ElicitRequest, type ElicitResult, ProtocolError } from "@modelcontextprotocol/client";
import { decodeJson } from "../../base/json.ts";
import { encodeTuple, type Tuple, tupleRange } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import type { Store } from "../../storage/store.ts";
import { transact } from "../../storage/transaction.ts";
import { faultOfAnswer } from "./answer-fault.ts";
import { InvalidMcpAnswerError, mcpLimits, McpQuestionNotFoundError } from "./mcp.ts";
import { refusal } from "./sampling.ts";
import type { McpServerRecord } from "./server-record.ts";

export interface McpQuestion {
  readonly id: string;
  readonly server_id: string;
  readonly server_name: string;
  /** Those that the server works on: it asks for one of them. */
  readonly calls: readonly CallUnderWay[];
  readonly asked_at: string;
  readonly expires_at: string;
  /** As the server words it. */
  readonly message: string;
  /** JSON Schema of an object with plain fields; null: the question is answered at `url`. */
  readonly requested_schema: { readonly [key: string]: unknown } | null;
  readonly url: string | null;
}

export interface CallUnderWay {
  readonly agent_id: string;
  /** The server's own name for it. */
  readonly tool: string;
}

export type McpAnswer = Pick<ElicitResult, "action" | "content">;

interface Asking {
  readonly project: string;
  readonly server: Pick<McpServerRecord, "id" | "server_name">;
  readonly calls: readonly CallUnderWay[];
  /** Aborts when the call is over. */
  readonly signal: AbortSignal;
}

export class McpQuestions {
  readonly #store: Store;
  readonly #environment: Environment;

  constructor(store: Store, environment: Environment) {
    this.#store = store;
    this.#environment = environment;
  }

  /** Waits for a person's answer. @throws {ProtocolError} What the server is told: nobody answered in time, or it asks too much. */
  async ask(asking: Asking, params: ElicitRequest["params"]): Promise<ElicitResult> {
    const question = this.#toQuestion(asking, params);
    const key = questionKey(asking.project, asking.server.id, question.id);
    await transact(this.#store, this.#environment, async (transaction) => transaction.set(key, { question } satisfies Row));
    const late = new AbortController();
    const stopWatch = this.#environment.clock.schedule(mcpLimits.questionMilliseconds, () => late.abort());
    try {
      await this.#untilAnswered(key, AbortSignal.any([asking.signal, late.signal]));
    } finally {
      stopWatch();
    }
    const row = await transact(this.#store, this.#environment, async (transaction) => {
      const last = await transaction.get<Row>(key);
      transaction.delete(key);
      return last;
    });
    if (row?.answer !== undefined) return row.answer;
    throw new ProtocolError(-1, `Nobody answered within ${mcpLimits.questionMilliseconds / 60_000} minutes`);
  }

  /** Those that wait for an answer, in the order in which they were asked. */
  async list(project: string, serverId: string): Promise<McpQuestion[]> {
    const now = this.#environment.clock.now();
    const waiting: McpQuestion[] = [];
    for (const { question, answer } of await this.#rows(project, serverId))
      if (Date.parse(question.expires_at) <= now) await this.#drop(project, question);
      else if (answer === undefined) waiting.push(question);
    return waiting.sort((left, right) => (left.asked_at < right.asked_at ? -1 : 1));
  }

  /** @throws {McpQuestionNotFoundError} @throws {InvalidMcpAnswerError} */
  async answer(project: string, serverId: string, id: string, answer: McpAnswer): Promise<McpQuestion> {
    const key = questionKey(project, serverId, id);
    return await transact(this.#store, this.#environment, async (transaction) => {
      const row = await transaction.get<Row>(key);
      const isOver = row === undefined || row.answer !== undefined || Date.parse(row.question.expires_at) <= this.#environment.clock.now();
      if (isOver)
        throw new McpQuestionNotFoundError(
          `No question ${id} waits for an answer: it was answered, its call is over, or its ${mcpLimits.questionMilliseconds / 60_000} minutes are`,
        );
      const { question } = row;
      const fault = faultOfAnswer(question.requested_schema, answer);
      if (fault !== undefined) throw new InvalidMcpAnswerError(fault);
      transaction.set(key, { question, answer } satisfies Row);
      return question;
    });
  }

  /** Nothing waits for this server any more. */
  async forget(project: string, serverId: string): Promise<void> {
    for (const { question } of await this.#rows(project, serverId)) await this.#drop(project, question);
  }

  async #untilAnswered(key: Tuple, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#environment.clock.sleep(mcpLimits.questionPollMilliseconds, signal);
      const [rows] = await this.#store.read([{ key: encodeTuple(key) }]);
      // It is gone with its server.
      if (rows!.length === 0 || decodeJson<Row>(rows![0]!.value).answer !== undefined) return;
    }
  }

  async #rows(project: string, serverId: string): Promise<Row[]> {
    const [range] = await this.#store.read([{ ...tupleRange(prefix(project, serverId)), limit: this.#store.limits.rangeEntries }]);
    return range!.map(({ value }) => decodeJson<Row>(value));
  }

  async #drop(project: string, { server_id, id }: McpQuestion): Promise<void> {
    await transact(this.#store, this.#environment, async (transaction) => transaction.delete(questionKey(project, server_id, id)));
  }

  #toQuestion({ server, calls }: Asking, params: ElicitRequest["params"]): McpQuestion {
    const { clock, random } = this.#environment;
    const schema = "requestedSchema" in params ? (params.requestedSchema as Readonly<Record<string, unknown>>) : null;
    if (params.message.length > mcpLimits.descriptionCharacters)
      throw refusal(`A question has at most ${mcpLimits.descriptionCharacters} characters`);
    if (Buffer.byteLength(JSON.stringify(schema)) > mcpLimits.schemaBytes)
      throw refusal(`The schema of a question has at most ${mcpLimits.schemaBytes} bytes`);
    const url = "url" in params ? String(params.url) : null;
    if (url !== null && !(url.length <= 2_000 && URL.parse(url)?.protocol === "https:"))
      throw refusal("A person is sent to addresses alone that begin with https://");
    return {
      id: `mcp_question-${random.uuid()}`,
      server_id: server.id,
      server_name: server.server_name,
      calls,
      asked_at: new Date(clock.now()).toISOString(),
      expires_at: new Date(clock.now() + mcpLimits.questionMilliseconds).toISOString(),
      message: params.message.toWellFormed(),
      requested_schema: schema,
      url,
    };
  }
}

interface Row {
  readonly question: McpQuestion;
  readonly answer?: ElicitResult;
}

function prefix(project: string, serverId: string): Tuple {
  return [project, "mcp_server.question", serverId];
}

function questionKey(project: string, serverId: string, id: string): Tuple {
  return [...prefix(project, serverId), id];
}
