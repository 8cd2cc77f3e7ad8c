/** A run's events as a stream, from any number on. */
import { followRun, readEvents, type RunEvent } from "../agents/run-events.ts";
import { isActive, runs } from "../agents/run.ts";
import { EventStream } from "./event-stream.ts";
import type { Services } from "./services.ts";

export interface StreamRequest {
  readonly project: string;
  readonly runId: string;
  /** The number of the last event that the client has; 0 for all. */
  readonly after: number;
  readonly includePings: boolean;
  /** Only messages of these kinds are shown; what says how the run ends always is. */
  readonly types?: readonly string[] | undefined;
}

/** The run is the same for everybody who follows it; its events do not depend on who does. */
export function streamRun(services: Pick<Services, "store" | "environment" | "feeds">, request: StreamRequest): EventStream {
  const { project, runId, after, includePings, types } = request;
  const isOver = async (): Promise<boolean> => {
    const [run] = await runs.read(services.store, project, [runId]);
    return run === undefined || !isActive(run);
  };
  const source = { store: services.store, environment: services.environment, feeds: services.feeds, project, runId };
  return new EventStream({
    runId,
    after,
    includePings,
    follow: (signal) =>
      types === undefined ? followRun(source, after, isOver, signal) : ofTypes(followRun(source, after, isOver, signal), types),
  });
}

/** Resolves when the run has ended. @throws what `signal` aborts with, when the client goes away */
export async function waitForRun(
  services: Pick<Services, "store" | "environment" | "feeds">,
  project: string,
  runId: string,
  signal: AbortSignal,
): Promise<void> {
  for await (const _ of streamRun(services, { project, runId, after: 0, includePings: false }).follow(signal));
  signal.throwIfAborted();
}

/** Whether a run still has events to show. */
export async function hasEvents(services: Pick<Services, "store">, project: string, runId: string): Promise<boolean> {
  return (await readEvents(services.store, project, runId, 0)).length > 0;
}

const alwaysShown: ReadonlySet<string> = new Set(["ping", "error_message", "stop_reason", "usage_statistics"]);

async function* ofTypes(batches: AsyncIterable<readonly RunEvent[]>, types: readonly string[]): AsyncGenerator<readonly RunEvent[]> {
  for await (const batch of batches) {
    const shown = batch.filter(
      ({ message, last }) => last === true || alwaysShown.has(message.message_type) || types.includes(message.message_type),
    );
    if (shown.length > 0) yield shown;
  }
}
