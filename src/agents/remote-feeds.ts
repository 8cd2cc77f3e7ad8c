/** Runs are followed at any node: the node that works on a run shows its live end to the others. */
import type { CallContext, Transport, Wire } from "../cluster/transport.ts";
import type { ClusterActors } from "../cluster/cluster-actors.ts";
import type { CallTable } from "../cluster/call-table.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { ActorMessageError } from "../actors/actor.ts";
import { conversationActor } from "./conversation.ts";
import { followRun, type RunEvent, type RunFeeds } from "./run-events.ts";
import { runs } from "./run.ts";

const followRunMethod = "follow-run";
/** A stream that has been open for so long is opened anew. */
const streamMilliseconds = 600_000;

interface FollowRunCall {
  readonly project: string;
  readonly runId: string;
  readonly after: number;
}

/** Answers other nodes that follow runs of this one, and lets `feeds` follow theirs. Before the cluster starts. */
export function shareFeeds(
  feeds: RunFeeds,
  parts: {
    readonly store: Store;
    readonly environment: Environment;
    readonly cluster: { readonly actors: ClusterActors; readonly calls: CallTable; readonly transport: Transport };
  },
): void {
  const { store, environment, cluster } = parts;
  cluster.calls.onStream(followRunMethod, (body, context) => followHere(feeds, { store, environment }, readCall(body), context));
  feeds.remote = async function* ({ project, runId }, after, signal) {
    const [run] = await runs.read(store, project, [runId]);
    if (run === undefined) return;
    const address = { project, agentId: run.agent_id, conversationId: run.conversation_id ?? "default" };
    const actor = conversationActor(address);
    const member = await cluster.actors.locate(actor);
    if (member?.address == null) return;
    const call: FollowRunCall = { project, runId, after };
    try {
      const stream = cluster.transport.stream(member.address, followRunMethod, call, { timeoutMilliseconds: streamMilliseconds, signal });
      for await (const item of stream) yield item as readonly RunEvent[];
    } catch (error) {
      // The reader goes on from the store, and looks for the run's node again.
      environment.log.write("debug", "A run could be followed no more at its node", { run: runId, node: member.node, error });
    }
    // It may have moved, while that node is still there.
    cluster.actors.forget(actor);
  };
}

/** What of a run is shown here: until its work here ends. */
async function* followHere(
  feeds: RunFeeds,
  parts: { readonly store: Store; readonly environment: Environment },
  { project, runId, after }: FollowRunCall,
  { signal }: CallContext,
): AsyncGenerator<readonly RunEvent[]> {
  if (feeds.get(runId) === undefined) return;
  const isOver = async (): Promise<boolean> => feeds.get(runId) === undefined;
  yield* followRun({ ...parts, feeds, project, runId, hereOnly: true }, after, isOver, signal);
}

/** @throws {ActorMessageError} */
function readCall(body: Wire): FollowRunCall {
  const { project, runId, after } = (body ?? {}) as { readonly [Field in keyof FollowRunCall]?: unknown };
  if (typeof project !== "string" || typeof runId !== "string" || !Number.isSafeInteger(after))
    throw new ActorMessageError("Whoever follows a run at another node names its project, its id, and an event");
  return { project, runId, after: after as number };
}
