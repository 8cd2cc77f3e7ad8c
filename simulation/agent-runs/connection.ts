/** A stream over a network: what a process sends arrives late and in order, until one side or the seed cuts it. */
import type { Incarnation, SimulatedProcess } from "../process.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";

/** `over`: the server ended it in good order; `cut`: nobody knows why it is gone. */
export type StreamEnd = { readonly kind: "over" } | { readonly kind: "cut" } | { readonly kind: "error"; readonly error: Error };

export interface StreamRequest<T> {
  readonly details: string;
  readonly random: RandomStream;
  /** The virtual time at which the client gives up. */
  readonly until: number;
  /** Runs inside the process. */
  open(incarnation: Incarnation, signal: AbortSignal): Promise<AsyncIterable<T>>;
  /** Runs inside the process when an item is about to leave. */
  onLeaving(item: T): Promise<void>;
  /** Runs at the client; false hangs up. */
  onArrived(item: T): boolean;
}

export function openStream<T>(world: World, process: SimulatedProcess, request: StreamRequest<T>): Promise<StreamEnd> {
  const { kernel, swarm } = world;
  const { details, random } = request;
  return new Promise((resolve) => {
    const hangUp = new AbortController();
    let isOpen = true;
    let lastArrival = 0;
    const giveUp = kernel.schedule(Math.max(0, request.until - kernel.now), { kind: "give up", details }, () => finish({ kind: "cut" }));
    const finish = (end: StreamEnd): void => {
      isOpen = false;
      giveUp();
      resolve(end);
    };
    const travel = (arrive: () => void): void => {
      lastArrival = Math.max(lastArrival, kernel.now + random.fraction() * 2);
      kernel.schedule(lastArrival - kernel.now, { kind: "stream", details }, () => {
        if (isOpen) arrive();
      });
    };
    const cut = (incarnation: Incarnation): void => {
      finish({ kind: "cut" });
      kernel.schedule(random.fraction() * 2, { kind: "hang up", owner: incarnation, details }, () => hangUp.abort());
    };
    const serve = async (incarnation: Incarnation): Promise<void> => {
      for await (const item of await request.open(incarnation, hangUp.signal)) {
        await request.onLeaving(item);
        if (!incarnation.cross("stream")) return;
        travel(() => {
          if (!request.onArrived(item)) cut(incarnation);
        });
      }
    };
    kernel.schedule(random.fraction() * 2, { kind: "connect", details }, () => {
      const { incarnation } = process;
      if (incarnation === undefined) return finish({ kind: "cut" });
      const forget = incarnation.onEnd(() => travel(() => finish({ kind: "cut" })));
      const isCut = kernel.now < swarm.faultsUntil && random.chance(swarm.replyLost);
      if (isCut && world.faultHappens("stream cut", details)) {
        kernel.schedule(random.fraction() * 500, { kind: "cut", details }, () => {
          if (isOpen) cut(incarnation);
        });
      }
      const end = (how: StreamEnd): void => {
        if (!incarnation.cross("stream end")) return;
        forget();
        travel(() => finish(how));
      };
      kernel.schedule(0, { kind: "request", owner: incarnation, details }, () => {
        serve(incarnation).then(
          () => end({ kind: "over" }),
          (error: unknown) => end({ kind: "error", error: error as Error }),
        );
      });
    });
  });
}
