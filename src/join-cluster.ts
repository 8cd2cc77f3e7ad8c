/** What a node needs to know before it is one of a cluster: where everything is kept, and the cluster's secret. */
import { hostname } from "node:os";
import { dirname } from "node:path";
import { parseAddress } from "./cluster/address.ts";
import type { CertificatePaths } from "./cluster/certificate-files.ts";
import { askToJoin, type Invitation, JoinError, storeToJoin, withoutPassword } from "./cluster/join.ts";
import { makeSecret, readSecret } from "./cluster/secret-file.ts";
import { TcpTransport } from "./cluster/tcp-transport.ts";
import type { Transport } from "./cluster/transport.ts";
import type { Environment } from "./environment/environment.ts";
import { holdProcess } from "./environment/hold-process.ts";
import { placeOf, type StorePlace } from "./open-store.ts";
import { isLoopbackName } from "./server/authentication.ts";
import { type ClusterAnswer, clusterSchema } from "./server/routes/cluster.ts";
import type { ClusterView } from "./server/services.ts";

export interface ClusterSettings {
  /** What people call this node: 1 to 63 characters of `a-z A-Z 0-9 . _ -`; one living node at a time has it. */
  readonly name: string;
  /** The origin at which a node of the cluster serves its API. Absent: this node may be the first. */
  readonly join?: string | undefined;
  /** Where this node has been a member before: it needs nobody to ask there. */
  readonly placeBefore?: StorePlace | undefined;
  /** The key of that node's API. */
  readonly apiKey?: string | undefined;
  /** At least 16 characters. Nodes of one host over one store file keep one beside it if there is none. */
  readonly secret?: string | undefined;
  /** The address of this host at which other nodes reach this one; 127.0.0.1 by default. */
  readonly host?: string;
  /** 0, any free one, by default. */
  readonly port?: number;
  /** Relative share of the actors; 1 by default. */
  readonly capacity?: number;
  /** This incarnation has a name, and is about to join: who sees it end can say so there (see `reportDead`). */
  readonly onNamed?: (node: string, place: StorePlace) => void;
  /** TLS between nodes. */
  readonly certificates?: CertificatePaths | undefined;
  /** The others take this node to be dead: everything here has ended, and the process must exit and start anew. */
  readonly onFenced: (reason: Error) => void;
}

export interface Entry {
  readonly place: StorePlace;
  /** By a node that is in the cluster. */
  readonly invitation?: Invitation;
  /** To be asked for when the store is open. `undefined`: certificates alone prove who is a node. */
  secret(): Uint8Array | undefined;
}

export interface JoinableCluster {
  /** The node that was asked. */
  readonly node: string;
  readonly store: ClusterView["store"];
  readonly members: ClusterAnswer["members"];
}

const clusterName = "kelpie";
const lookMilliseconds = 10_000;
/** How long a node waits for the one that it joins: both may have been started at the same time. */
const patienceMilliseconds = 30_000;
const pauseMilliseconds = 250;

/** No node answers there now; one may in a moment. */
class NobodyAnswersError extends JoinError {}

/** A node that may be the first. */
export function enterFirst(settings: ClusterSettings, place: StorePlace, environment: Environment): Entry {
  return {
    place,
    secret: () => {
      if (settings.secret !== undefined) return Buffer.from(settings.secret);
      if (place.kind === "sqlite") return makeSecret(dirname(place.path), environment.random);
      if (settings.certificates !== undefined) return undefined;
      throw new JoinError(
        "The nodes of a cluster over a database need a secret, the same for all of them, or certificates: set KELPIE_CLUSTER_SECRET, or KELPIE_CLUSTER_CERTIFICATE",
      );
    },
  };
}

/** A node that joins. `own`: the places that its settings name. @throws {JoinError} @throws {HandshakeError} */
export async function enterByInvitation(
  settings: ClusterSettings & { readonly join: string },
  own: { readonly path: string | undefined; readonly storeAddress: string | undefined },
  parts: { readonly environment: Environment; readonly machine: string },
): Promise<Entry> {
  const { environment, machine } = parts;
  const { address, store } = await awaitMember(settings, environment);
  refuseUnreachable(settings, address);
  // What it says is only believed once it has proved to know the secret; but what cannot work is said now.
  const told = storeToJoin({ store, storeId: "" }, { address, machine });
  const secret = settings.secret === undefined ? secretOf(told, settings) : Buffer.from(settings.secret);
  await using transport = transportOf(settings, secret, environment, `${settings.name}, joining`);
  const invitation = await askToJoin(transport, address);
  return { place: placeToJoin(invitation, own, { address, machine }), invitation, secret: () => secret };
}

/** Waits for a member that answers where this node is to join. Only for what may pass: another answer is an answer. */
async function awaitMember(
  { join, apiKey }: ClusterSettings & { readonly join: string },
  { clock, log }: Environment,
): Promise<{ readonly address: string; readonly store: ClusterView["store"] }> {
  const release = holdProcess();
  const startedAt = clock.elapsed();
  try {
    for (let isFirst = true; ; isFirst = false) {
      try {
        return await memberAt(join, apiKey);
      } catch (error) {
        if (!(error instanceof NobodyAnswersError)) throw error;
        const seconds = patienceMilliseconds / 1_000;
        if (clock.elapsed() - startedAt >= patienceMilliseconds)
          throw new JoinError(`${error.message}. This node has waited for ${seconds} s`, { cause: error });
        if (isFirst) log.write("warn", "Waiting for the node that this one joins", { join, seconds, because: error.message });
      }
      await clock.sleep(pauseMilliseconds);
    }
  } finally {
    release();
  }
}

/** @throws {JoinError} */
async function memberAt(
  origin: string,
  apiKey: string | undefined,
): Promise<{ readonly address: string; readonly store: ClusterView["store"] }> {
  const { node, members, store } = await lookAt(origin, apiKey);
  const address = members.find((member) => member.node === node)?.address;
  if (address == null) throw new NobodyAnswersError(`The node at ${origin} is about to leave its cluster: join at another one`);
  return { address, store };
}

export function transportOf(
  { host = "127.0.0.1", port = 0, certificates }: ClusterSettings,
  secret: Uint8Array | undefined,
  environment: Environment,
  node: string,
): Transport {
  return new TcpTransport({
    environment,
    node,
    cluster: clusterName,
    host,
    port,
    ...(secret === undefined ? {} : { secret }),
    ...(certificates === undefined ? {} : { certificates }),
  });
}

/** Where a store is, as other nodes are told. */
export function describeStore(place: StorePlace, machine: string): ClusterView["store"] {
  switch (place.kind) {
    case "sqlite":
      return { kind: "sqlite", machine, host: hostname(), path: place.path };
    case "postgres":
      return { kind: "postgres", url: withoutPassword(place.address) };
    case "foundationdb":
      return place;
  }
}

/** The cluster that the node there belongs to, as it says. @throws {JoinError} */
export async function lookAt(origin: string, apiKey: string | undefined): Promise<JoinableCluster> {
  let response: Response;
  try {
    response = await fetch(`${origin}/v1/cluster`, {
      headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
      signal: AbortSignal.timeout(lookMilliseconds),
    });
  } catch (error) {
    const { message, cause } = error as Error & { readonly cause?: NodeJS.ErrnoException };
    // What has no code is no trouble of the network: an answer that is not HTTP, a port that is no web server's.
    if (cause !== undefined && cause.code === undefined)
      throw new JoinError(`No Kelpie can be asked at ${origin}: ${cause.message}`, { cause: error });
    throw new NobodyAnswersError(`No Kelpie answers at ${origin}: ${cause?.code ?? message}`, { cause: error });
  }
  if (response.status === 401) throw new JoinError(`The Kelpie at ${origin} asks for its key: set KELPIE_API_KEY to the same one`);
  const answer = clusterSchema.safeParse(await response.json().catch(() => undefined));
  if (!answer.success)
    throw new JoinError(
      `What answers at ${origin} is no Kelpie that can be joined, or one of another version: it answers ${response.status}`,
    );
  const { node, store, members } = answer.data;
  if (node === null || store === null)
    throw new JoinError(`The Kelpie at ${origin} runs alone: start it with KELPIE_NODE=<name>, and others can join it`);
  return { node, store, members };
}

/** A cluster is of one host, or of several: addresses of this host only are of no use to the others. */
function refuseUnreachable({ host = "127.0.0.1", join }: ClusterSettings, address: string): void {
  const isOfThisHost = isLoopbackName(parseAddress(address).host);
  if (isOfThisHost && !isLoopbackName(new URL(join!).hostname))
    throw new JoinError(
      `The node at ${join} can be reached by nodes of its own host only: start it with KELPIE_CLUSTER_HOST, the address by which others reach it`,
    );
  if (!isOfThisHost && isLoopbackName(host))
    throw new JoinError(`The cluster is of several hosts: set KELPIE_CLUSTER_HOST to the address by which other nodes reach this one`);
}

function secretOf(store: ReturnType<typeof storeToJoin>, { join: origin, certificates }: ClusterSettings): Uint8Array | undefined {
  if (store.kind !== "sqlite") {
    if (certificates !== undefined) return undefined;
    throw new JoinError(
      `The cluster at ${origin} has a secret or certificates: set KELPIE_CLUSTER_SECRET to the same one, or KELPIE_CLUSTER_CERTIFICATE`,
    );
  }
  try {
    return readSecret(dirname(store.path));
  } catch (error) {
    throw new JoinError(
      `Cannot read the secret of the cluster at ${origin}: ${(error as Error).message}. Start this node as the same user, or set KELPIE_CLUSTER_SECRET if that node has it set`,
      { cause: error },
    );
  }
}

/** @throws {JoinError} This node's settings name another store. */
function placeToJoin(
  invitation: Invitation,
  own: { readonly path: string | undefined; readonly storeAddress: string | undefined },
  where: { readonly address: string; readonly machine: string },
): StorePlace {
  const store = storeToJoin(invitation, where);
  switch (store.kind) {
    case "sqlite":
      if (own.storeAddress !== undefined)
        throw new JoinError(`The cluster keeps everything in the file ${store.path}, and KELPIE_STORE names a database: leave it out`);
      if (own.path !== undefined && own.path !== store.path)
        throw new JoinError(`The cluster keeps everything in ${store.path}, and the settings name ${own.path}: leave --data out`);
      return { kind: "sqlite", path: store.path };
    case "postgres":
      // With the password, which the invitation does not have; the database may have another name here.
      return own.storeAddress === undefined ? { kind: "postgres", address: store.url } : ownPlace(own.storeAddress, store.kind);
    case "foundationdb":
      // The file may be elsewhere on this host.
      return own.storeAddress === undefined ? store : ownPlace(own.storeAddress, store.kind);
  }
}

/** @throws {JoinError} This node's settings name a store of another kind than the cluster's. */
function ownPlace(storeAddress: string, kind: StorePlace["kind"]): StorePlace {
  const place = placeOf({ storeAddress });
  if (place.kind !== kind)
    throw new JoinError(
      `The cluster keeps everything in ${kind === "postgres" ? "PostgreSQL" : "FoundationDB"}, and KELPIE_STORE names a store of another kind`,
    );
  return place;
}
