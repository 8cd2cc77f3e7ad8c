/** A process as a node of a cluster. Loaded only where there is one. */
import { HostProcessTable } from "./actors/host-process-table.ts";
import { agentErrors } from "./agents/agent-errors.ts";
import { checkCertificates } from "./cluster/check-certificates.ts";
import { answerJoins, storeIdOf, verifyStore } from "./cluster/join.ts";
import { meetMembers } from "./cluster/meet-members.ts";
import { openCluster } from "./cluster/open-cluster.ts";
import { type ClusterSettings, describeStore, enterByInvitation, enterFirst, transportOf } from "./join-cluster.ts";
import type { NodeOptions, OpenNode } from "./open-node.ts";
import { describePlace, openStore, placeOf, storeFile } from "./open-store.ts";

/** @throws {CertificateError} @throws {JoinError} @throws {HandshakeError} And what opening the store throws. */
export async function openMember(options: NodeOptions, settings: ClusterSettings): Promise<OpenNode> {
  const { environment, dataDirectory, storeAddress } = options;
  if (options.store !== undefined)
    throw new TypeError("A node of a cluster opens its store itself, so that others can be told of it: give storeAddress or dataDirectory");
  if (settings.certificates !== undefined) checkCertificates(settings.certificates, environment.clock.now());
  await using opened = new AsyncDisposableStack();
  const processes = new HostProcessTable();
  const { machine } = processes;
  const path = dataDirectory === undefined ? undefined : storeFile(dataDirectory);
  const { join, placeBefore } = settings;
  const entry =
    join === undefined || placeBefore !== undefined
      ? enterFirst(settings, placeBefore ?? placeOf(options), environment)
      : await enterByInvitation({ ...settings, join }, { path, storeAddress }, { environment, machine });
  // A change of the store's history is seen by the membership.
  const store = opened.use(await openStore(entry.place, { environment }));
  if (entry.invitation !== undefined) await verifyStore(entry.invitation, store, environment);
  const secret = entry.secret();
  const cluster = opened.use(
    openCluster({
      store,
      environment,
      name: settings.name,
      ...(settings.capacity === undefined ? {} : { capacity: settings.capacity }),
      witness: processes,
      limits: options.actorLimits ?? {},
      errors: agentErrors,
      isSecure: settings.certificates !== undefined,
      transport: (node) => transportOf(settings, secret, environment, node),
      onFenced: settings.onFenced,
    }),
  );
  settings.onNamed?.(cluster.node, entry.place);
  const described = describeStore(entry.place, machine);
  answerJoins(cluster.calls, { store: described, storeId: await storeIdOf(store, environment) });
  const parts = opened.move();
  return {
    store,
    data: describePlace(entry.place),
    place: entry.place,
    actors: cluster.actors,
    cluster,
    view: {
      node: cluster.node,
      store: described,
      operations: cluster.operations,
      get members() {
        return cluster.members;
      },
      get isDraining() {
        return cluster.placement.isDraining;
      },
    },
    start: async () => {
      await meetMembers(store, cluster.transport);
      await cluster.start();
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
