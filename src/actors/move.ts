/** What an actor does for its move to another node: a failure of it is logged, and the move goes on. */
import type { Actor, ActorId } from "./actor.ts";
import { describeActor } from "./actor-id.ts";
import type { ActorServices } from "./services.ts";

/** Resolves when what the actor does in the background has come to a good point, or its time for that is over. */
export async function prepareToMove(actor: Actor | undefined, id: ActorId, { environment, limits }: ActorServices): Promise<void> {
  const prepared = actor?.prepareToMove?.().catch((error: unknown) => {
    environment.log.write("error", "An actor failed to prepare for a move", { actor: describeActor(id), error });
  });
  if (prepared === undefined) return;
  const isOver = new AbortController();
  await Promise.race([prepared, environment.clock.sleep(limits.moveMilliseconds, isOver.signal)]);
  isOver.abort();
}

/** What the actor hands over. */
export function handedOverBy(actor: Actor | undefined, id: ActorId, { environment }: ActorServices): unknown {
  try {
    return actor?.handOver?.();
  } catch (error) {
    environment.log.write("error", "An actor failed to hand over", { actor: describeActor(id), error });
    return undefined;
  }
}
