/**
 * Kelpie as a library: puts the parts together, with the real adapters where none are given.
 *
 * ```ts
 * await using kelpie = await createKelpie({ dataDirectory: "./data", actors: [counter] });
 * const count = await kelpie.actors.invoke({ project: "default", type: "counter", key: "ada" }, { add: 1 });
 * const { url } = await kelpie.serve({ port: 8283 });
 * ```
 */
import type { Actors, ActorType } from "./actors/actor.ts";
import type { ActorLimits } from "./actors/limits.ts";
import type { AgentDirectory } from "./agents/agent-directory.ts";
import { createAgents } from "./agents/agents.ts";
import type { ConversationService } from "./agents/conversation-service.ts";
import { postCallback } from "./agents/post-callback.ts";
import { shareFeeds } from "./agents/remote-feeds.ts";
import type { Cluster } from "./cluster/open-cluster.ts";
import type { Environment } from "./environment/environment.ts";
import { holdProcess } from "./environment/hold-process.ts";
import { RealEnvironment } from "./environment/real-environment.ts";
import type { ClusterSettings } from "./join-cluster.ts";
import { ModelCatalogue } from "./models/model-catalogue.ts";
import { configuredProviders } from "./models/providers.ts";
import { openNode } from "./open-node.ts";
import { openSealingKey } from "./open-sealing-key.ts";
import { openSourceTools } from "./open-source-tools.ts";
import { dataFolder } from "./open-store.ts";
import { type App, createApp } from "./server/app.ts";
import { defaultProject } from "./server/authentication.ts";
import { stopping } from "./server/http-error.ts";
import { listen, type Listening } from "./server/listen.ts";
import { StoredProviders } from "./server/providers.ts";
import type { ClusterView } from "./server/services.ts";
import type { Store } from "./storage/store.ts";
import type { Tool } from "./tools/tool.ts";
import { type Elicit, McpTools } from "./tools/mcp/mcp-tools.ts";
import { ToolRegistry } from "./tools/tool-registry.ts";

export { actorOf, defineActor, sendTo } from "./actors/define-actor.ts";
export { storeFile } from "./open-store.ts";

export interface KelpieOptions {
  /** Where everything is kept. Whoever gives one closes it. By default what `storeAddress` or `dataDirectory` name. */
  readonly store?: Store;
  /** For `kelpie.db`; made if it is missing. `.kelpie` by default. */
  readonly dataDirectory?: string | undefined;
  /** `postgres://user:password@host:port/database`, in place of the file. */
  readonly storeAddress?: string | undefined;
  /** Makes this process a node that shares its actors with others. It opens its store itself. */
  readonly cluster?: ClusterSettings | undefined;
  readonly environment?: Environment;
  /** Kinds of actors beside agents. Those with `parse` can be called over HTTP. */
  readonly actors?: readonly ActorType[];
  readonly actorLimits?: Partial<ActorLimits>;
  /** Tools that run in this process, for any agent to have. */
  readonly tools?: readonly Tool[];
  /** The language models. By default those of `providers`, and `kelpie/demo`. */
  readonly models?: ModelCatalogue;
  /** Keys and addresses of model providers, by variable: `{ OPENAI_API_KEY: "…" }`. */
  readonly providers?: Readonly<Record<string, string | undefined>>;
  /** What secrets are sealed with, at least 16 characters. By default a file beside the store file; over another store none are taken without it. */
  readonly sealingKey?: string | undefined;
  /** The sealing key of before is lost, and with it what was sealed. */
  readonly newSealingKey?: boolean;
  /** Where browsers reach this Kelpie, such as `https://kelpie.example.com`. By default where `serve` listens first. */
  readonly publicUrl?: string | undefined;
  /** Code of tools may run as plain processes of this host, with all the rights of this one, where it cannot be isolated. */
  readonly unisolatedTools?: boolean;
  /** Answers what an MCP server asks a person in the middle of a call. By default servers are told that nobody can be asked. */
  readonly elicit?: Elicit;
  /** How long `close` waits for requests in progress. 20,000 by default. */
  readonly stopMilliseconds?: number;
  /** How long a node that closes takes requests, after it has begun to say that it is not ready, if others are up. 5,000 by default. */
  readonly leaveMilliseconds?: number;
}

export interface ServeOptions {
  /** 8283 by default; 0 takes any free one. */
  readonly port?: number;
  /** 127.0.0.1 by default. Beyond the loopback address a key is required. */
  readonly host?: string;
  /** What every request must carry. */
  readonly apiKey?: string | undefined;
}

export interface Kelpie extends AsyncDisposable {
  readonly actors: Actors;
  /** Makes, changes and deletes agents: those made here have a core memory of 32 KB unless they name another limit. */
  readonly agents: AgentDirectory;
  /** Sends messages to agents, and follows what they do. */
  readonly conversations: ConversationService;
  readonly models: ModelCatalogue;
  readonly store: Store;
  /** Where everything is kept, as it may be shown to anybody. */
  readonly data: string;
  /** The cluster, where this process is a node of one. */
  readonly cluster: ClusterView | undefined;
  /** The HTTP API as a function of a request, without a socket and without a key. */
  readonly app: App;
  /** @throws {ListenError} */
  serve(options?: ServeOptions): Promise<Listening>;
  /** In a cluster gives its actors to the others. Ends event streams so that they can be resumed, finishes turns and steps, commits, and closes what it opened. Runs go on at the next start. */
  close(): Promise<void>;
}

const stopMillisecondsDefault = 20_000;
const leaveMillisecondsDefault = 5_000;
const defaultPort = 8283;
const defaultHost = "127.0.0.1";

/** @throws {StoreFileError} @throws {PostgresDatabaseError} @throws {StoreUnavailableError} @throws {JoinError} The store cannot be opened, or is not the cluster's. @throws {SealError} */
export async function createKelpie(options: KelpieOptions = {}): Promise<Kelpie> {
  const environment = options.environment ?? new RealEnvironment();
  const models = options.models ?? new ModelCatalogue({ environment, providers: configuredProviders(options.providers ?? {}) });
  const tools = new ToolRegistry();
  for (const tool of options.tools ?? []) tools.register(tool);

  await using opened = new AsyncDisposableStack();
  const { dataDirectory, storeAddress, actorLimits } = options;
  const parts = { environment, store: options.store, dataDirectory, storeAddress, actorLimits };
  const node = opened.use(await openNode(parts, options.cluster));
  const { store, actors, cluster } = node;
  const actorTypes = new Map((options.actors ?? []).map((type) => [type.type, type]));
  for (const type of actorTypes.values()) actors.register(type);
  const sealingKey = await openSealingKey({
    environment,
    store,
    place: node.place,
    secret: options.sealingKey,
    isNew: options.newSealingKey ?? false,
  });
  let servedUrl: string | undefined;
  const mcp = opened.use(
    new McpTools({
      store,
      environment,
      sealingKey,
      publicUrl: () => options.publicUrl ?? servedUrl,
      models,
      elicit: options.elicit,
    }),
  );
  tools.addSource("external_mcp", (record) => mcp.tool(record));
  const folder = dataFolder(dataDirectory);
  const sourceTools = opened.use(openSourceTools({ store, environment, folder, unisolatedAllowed: options.unisolatedTools ?? false }));
  for (const type of ["custom", "letta_builtin"] as const) tools.addSource(type, sourceTools.source);
  const agents = createAgents({ store, environment, models, tools, actors, sealingKey, callback: postCallback });
  opened.defer(() => agents.stop());
  await tools.seed(store, environment, defaultProject);
  const providers = new StoredProviders({ store, environment, models, sealingKey }, defaultProject);
  await providers.sync();
  if (cluster !== undefined) {
    shareFeeds(agents.feeds, { store, environment, cluster });
    const following = new AbortController();
    opened.defer(() => following.abort());
    void providers.follow(following.signal);
  }
  await node.start();

  const services = {
    environment,
    store,
    actors,
    actorTypes,
    models,
    providers,
    tools,
    mcp,
    sealingKey,
    agents: agents.directory,
    conversations: agents.conversations,
    feeds: agents.feeds,
    cluster: node.view,
  };
  // Timers of the core keep no process alive, so until it is closed this does: a program may wait for nothing but one.
  opened.defer(holdProcess());
  const all = opened.move();
  const listenings = new Set<Listening>();
  let closed: Promise<void> | undefined;
  // Whoever listens to a run hears of the stop before its step is finished, and the step is finished before the store closes.
  const close = async (): Promise<void> => {
    const { stopMilliseconds = stopMillisecondsDefault, leaveMilliseconds = leaveMillisecondsDefault } = options;
    // What the other nodes go on with comes to its end here too: who talks to this node is not to notice.
    const isElsewhere = cluster !== undefined && (await leaveCluster(cluster, { listenings, environment, leaveMilliseconds }));
    const finishMilliseconds = isElsewhere ? stopMilliseconds : 0;
    await Promise.all([...listenings].map((listening) => listening.close(stopMilliseconds, finishMilliseconds)));
    await all.disposeAsync();
  };
  return {
    actors,
    agents: agents.directory,
    conversations: agents.conversations,
    models,
    store,
    data: node.data,
    cluster: node.view,
    app: createApp(services),
    serve: async ({ port = defaultPort, host = defaultHost, apiKey } = {}) => {
      const closing = new AbortController();
      const app = createApp(services, { key: apiKey, loopbackOnly: apiKey === undefined, closing: closing.signal });
      const listening = await listen(app, {
        host,
        port,
        hasKey: apiKey !== undefined,
        environment,
        close: () => closing.abort(stopping()),
      });
      listenings.add(listening);
      servedUrl ??= listening.url;
      return listening;
    },
    close: () => (closed ??= close()),
    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
}

/**
 * Gives this node's actors to the others while it is still served, and until whoever shares out the requests has had the
 * time to notice. Gives whether nothing is left here.
 */
async function leaveCluster(
  cluster: Cluster,
  parts: { readonly listenings: Iterable<Listening>; readonly environment: Environment; readonly leaveMilliseconds: number },
): Promise<boolean> {
  const { listenings, environment, leaveMilliseconds } = parts;
  for (const listening of listenings) listening.retire();
  const hasOthers = cluster.members.some((member) => member.node !== cluster.node && member.state === "up");
  const noticed = hasOthers ? environment.clock.sleep(leaveMilliseconds) : Promise.resolve();
  try {
    const [{ left }] = await Promise.all([cluster.drain(), noticed]);
    return left === 0;
  } catch (error) {
    environment.log.write("warn", "A node could not give its actors away; they stop here, and go on elsewhere", { error });
    return false;
  }
}
