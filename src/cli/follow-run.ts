/**
 * The messages of a run from its first to its last, however often the connection breaks.
 *
 * A run that is followed is a background run: its events are durable and numbered, so after a cut, or a restart of the
 * server in the middle of an answer, the rest is asked for by the number of the last one seen.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ApiError, type ApiClient, type ApiMessage, ServerUnreachableError, StreamCutError } from "./api-client.ts";

export interface FollowOptions {
  /** Sends the request that starts the run. Repeated if its answer was lost: it carries an `otid`, so the run starts once. */
  readonly start?: { readonly path: string; readonly body: unknown };
  /** Or: a run that exists. */
  readonly runId?: string;
  readonly after?: number;
  /** Called when the connection is lost, and when the run goes on. */
  readonly onConnection: (state: "lost" | "back") => void;
  readonly patienceMilliseconds?: number;
  readonly signal: AbortSignal;
}

const patienceMillisecondsDefault = 5 * 60_000;
const backoffMillisecondsMin = 250;
const backoffMillisecondsMax = 3_000;
const batchSize = 1_000;

/** @throws {ApiError} @throws {ServerUnreachableError} After `patienceMilliseconds` without an answer. */
export async function* followRun(client: ApiClient, options: FollowOptions): AsyncGenerator<ApiMessage> {
  let runId = options.runId;
  let seen = options.after ?? 0;
  let lostAt: number | undefined;
  let backoff = backoffMillisecondsMin;
  for (let attempt = 0; ; attempt++) {
    try {
      for await (const message of open(client, options, runId, seen)) {
        if (lostAt !== undefined) options.onConnection("back");
        [lostAt, backoff] = [undefined, backoffMillisecondsMin];
        runId ??= message.run_id ?? undefined;
        if (message.message_type === "ping") continue;
        const seq = message.seq_id ?? 0;
        if (seq !== 0 && seq <= seen) continue;
        seen = Math.max(seen, seq);
        yield message;
      }
      return;
    } catch (error) {
      // The first attempt fails at once when nobody is there: there is nothing yet to be patient for.
      const isFirst = attempt === 0 && runId === undefined && error instanceof ServerUnreachableError;
      if (isFirst || !isTransient(error) || options.signal.aborted) throw error;
      if (lostAt === undefined) options.onConnection("lost");
      lostAt ??= performance.now();
      if (performance.now() - lostAt > (options.patienceMilliseconds ?? patienceMillisecondsDefault)) throw error;
    }
    await sleep(backoff, undefined, { signal: options.signal });
    backoff = Math.min(backoff * 2, backoffMillisecondsMax);
  }
}

function open(client: ApiClient, options: FollowOptions, runId: string | undefined, seen: number): AsyncGenerator<ApiMessage> {
  if (runId === undefined && options.start !== undefined) return client.stream(options.start.path, options.start.body, options.signal);
  return client.stream(`/v1/runs/${runId}/stream`, { starting_after: seen, batch_size: batchSize, include_pings: true }, options.signal);
}

function isTransient(error: unknown): boolean {
  if (error instanceof ApiError) return error.status === 502 || error.status === 503 || error.status === 504;
  return error instanceof ServerUnreachableError || error instanceof StreamCutError;
}
