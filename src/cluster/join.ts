/**
 * How a node that knows one member's address becomes a member: it asks for the store, opens it, and makes sure that it
 * is the cluster's. That both have the cluster's secret was proved by the transport before anything was asked.
 */
import type { Environment } from "../environment/environment.ts";
import { decodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Store } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";
import type { CallTable } from "./call-table.ts";
import { Body } from "./calls.ts";
import { HandshakeError, type NodeAddress, type Transport } from "./transport.ts";

const joinMethod = "join";
const joinMilliseconds = 10_000;

/** Where a cluster keeps everything, without secrets. */
export type StoreDescriptor =
  /** A file of one machine: `machine` tells it from all others. */
  | { readonly kind: "sqlite"; readonly machine: string; readonly host: string; readonly path: string }
  /** A URL without its password. */
  | { readonly kind: "postgres"; readonly url: string }
  | { readonly kind: "foundationdb"; readonly clusterFile: string };

export interface Invitation {
  readonly store: StoreDescriptor;
  /** What the store calls itself: the same wherever it is opened from, and another one for every other store. */
  readonly storeId: string;
}

/** This node cannot join the cluster that it was told to. Says why, and what would do. */
export class JoinError extends Error {
  override readonly name = "JoinError";
}

const storeIdKey: Tuple = ["", "store"];

/** The name that a store has in itself, from when it is first asked. */
export async function storeIdOf(store: Store, environment: Environment): Promise<string> {
  const [answer] = await store.read([{ key: encodeTuple(storeIdKey) }]);
  if (answer![0] !== undefined) return decodeJson<string>(answer![0].value);
  return await transact(store, environment, async (transaction) => {
    const known = await transaction.get<string>(storeIdKey);
    if (known !== undefined) return known;
    const id = environment.random.uuid();
    transaction.set(storeIdKey, id);
    return id;
  });
}

/** Tells nodes that want to join where the store is. */
export function answerJoins(calls: CallTable, invitation: Invitation): void {
  calls.onRequest(joinMethod, async () => invitation);
}

/** Asks a member. @throws {JoinError} @throws {HandshakeError} The member has another secret, or another cluster's name. */
export async function askToJoin(transport: Transport, address: NodeAddress): Promise<Invitation> {
  let answer: unknown;
  try {
    answer = await transport.request(address, joinMethod, {}, { timeoutMilliseconds: joinMilliseconds, class: "control" });
  } catch (error) {
    if (error instanceof HandshakeError) throw error;
    throw new JoinError(
      `Cannot join at ${address}: ${(error as Error).message}. Is that the address at which a Kelpie node takes calls of others?`,
      {
        cause: error,
      },
    );
  }
  try {
    return readInvitation(answer);
  } catch (error) {
    throw new JoinError(`Cannot join at ${address}: what it says of its store is of another version of Kelpie. Update the older one`, {
      cause: error,
    });
  }
}

/** The store to open, as this machine can reach it. @throws {JoinError} */
export function storeToJoin({ store }: Invitation, options: { readonly address: NodeAddress; readonly machine: string }): StoreDescriptor {
  const { address, machine } = options;
  if (store.kind === "sqlite" && store.machine !== machine)
    throw new JoinError(
      `Cannot join at ${address}: that cluster keeps everything in a SQLite file on host ${store.host}, which only nodes of that host can open. For nodes on several hosts, start all of them over PostgreSQL or FoundationDB`,
    );
  if (store.kind === "postgres" && isLoopback(hostOf(store.url)) && !isLoopback(hostOfAddress(address)))
    throw new JoinError(
      `Cannot join at ${address}: that cluster's PostgreSQL is at ${hostOf(store.url)}, which on this host is another one. Start that node with an address of PostgreSQL that all hosts can reach`,
    );
  return store;
}

/** Makes sure that the store which was opened is the cluster's. @throws {JoinError} */
export async function verifyStore(invitation: Invitation, store: Store, environment: Environment): Promise<void> {
  const id = await storeIdOf(store, environment);
  if (id !== invitation.storeId)
    throw new JoinError(
      `The store that was opened is not that of the cluster: it is ${id.slice(0, 8)}, and the cluster's is ${invitation.storeId.slice(0, 8)}. Both nodes must reach the very same ${invitation.store.kind === "sqlite" ? "file" : "database"}`,
    );
}

/** A store in a few words, for people. */
export function describeDescriptor(store: StoreDescriptor): string {
  if (store.kind === "sqlite") return store.path;
  return store.kind === "postgres" ? store.url : `FoundationDB (${store.clusterFile})`;
}

/** A URL of PostgreSQL as it may be told to others. */
export function withoutPassword(url: string): string {
  const parsed = new URL(url);
  parsed.password = "";
  parsed.searchParams.delete("password");
  return parsed.href;
}

/** @throws {ActorMessageError} @throws {TypeError} */
function readInvitation(answer: unknown): Invitation {
  const body = new Body(answer);
  const store = new Body(body.any("store"));
  const storeId = body.text("storeId");
  const kind = store.text("kind");
  switch (kind) {
    case "sqlite":
      return { storeId, store: { kind, machine: store.text("machine"), host: store.text("host"), path: store.text("path") } };
    case "postgres":
      return { storeId, store: { kind, url: withoutPassword(store.text("url")) } };
    case "foundationdb":
      return { storeId, store: { kind, clusterFile: store.text("clusterFile") } };
    default:
      throw new TypeError(`Unknown kind of store ${kind}`);
  }
}

function hostOf(url: string): string {
  return new URL(url).hostname;
}

function hostOfAddress(address: NodeAddress): string {
  return address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || host.startsWith("127.") || host === "";
}
