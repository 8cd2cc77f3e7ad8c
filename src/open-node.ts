/** The store and the actors of this process: alone, or as a node of a cluster. */
import type { Actors } from "./actors/actor.ts";
import { ActorRuntime } from "./actors/actor-runtime.ts";
import { HostProcessTable } from "./actors/host-process-table.ts";
import { type ActorLimits, defaultActorLimits } from "./actors/limits.ts";
import { SingleNodePlacement } from "./actors/single-node-placement.ts";
import type { Cluster } from "./cluster/open-cluster.ts";
import type { Environment } from "./environment/environment.ts";
import type { ClusterSettings } from "./join-cluster.ts";
import { describePlace, historyLost, openStore, placeOf, type StorePlace } from "./open-store.ts";
import type { ClusterView } from "./server/services.ts";
import type { Store } from "./storage/store.ts";

export interface NodeOptions {
  readonly environment: Environment;
  readonly store?: Store | undefined;
  readonly dataDirectory?: string | undefined;
  readonly storeAddress?: string | undefined;
  readonly actorLimits?: Partial<ActorLimits> | undefined;
}

export interface OpenNode extends AsyncDisposable {
  readonly store: Store;
  /** Where everything is kept, as it may be shown to anybody. */
  readonly data: string;
  /** The same for this process; undefined for a store of the program. */
  readonly place: StorePlace | undefined;
  readonly actors: Actors;
  readonly cluster?: Cluster;
  readonly view?: ClusterView;
  /** When all types of actors are registered. */
  start(): Promise<void>;
}

/** @throws What opening the store throws, and `openMember` where there is a cluster. */
export async function openNode(options: NodeOptions, cluster: ClusterSettings | undefined): Promise<OpenNode> {
  return cluster === undefined ? await openAlone(options) : await (await import("./open-member.ts")).openMember(options, cluster);
}

async function openAlone(options: NodeOptions): Promise<OpenNode> {
  const { environment } = options;
  await using opened = new AsyncDisposableStack();
  const place = placeOf(options);
  let endAll: (reason: Error) => void = () => {};
  const onGenerationChange = (): void => endAll(historyLost(environment));
  const store = options.store ?? opened.use(await openStore(place, { environment, onGenerationChange }));
  const placement = new SingleNodePlacement(store, environment, new HostProcessTable());
  const actors = opened.use(new ActorRuntime({ store, environment, placement, limits: { ...defaultActorLimits, ...options.actorLimits } }));
  endAll = (reason) => actors.endAll(reason);
  const parts = opened.move();
  return {
    store,
    data: options.store === undefined ? describePlace(place) : "a store of the program",
    place: options.store === undefined ? place : undefined,
    actors,
    start: () => actors.start(),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
