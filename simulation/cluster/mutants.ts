/**
 * Bugs to plant in a cluster: between a node and its store, its clock, its peers and the others' view of it. The code that
 * ships knows of none of them; where a bug would be inside of it, a part of one node is replaced from outside.
 */
import { NodeUnreachableError, ReplyLostError } from "../../src/cluster/transport.ts";
import { agentMutants } from "../agent-runs/mutants.ts";
import { mutants as planted, rowKind, withRead } from "../mutants.ts";
import type { Mutant } from "../world.ts";
import {
  alwaysElsewhere,
  dropsWhileMoving,
  isMembersQuery,
  kindOf,
  leaseFromReply,
  memberIn,
  membersReadOnce,
  readsNextRows,
  recordsForgotten,
  remembered,
  replaceGetter,
  takesBack,
  twoRuntimes,
  withCluster,
  withHeaders,
  withLeases,
  withOldReplies,
  withReadHeaders,
  withRequest,
  withoutChecks,
  withoutGeneration,
} from "./tampering.ts";

export const clusterMutants: readonly Mutant[] = [
  // What breaks one process breaks several, too.
  alsoIn("cluster-register", "no-epoch-check", 300),
  alsoIn("cluster-counter", "no-deduplication", 100),
  alsoIn("cluster-counter", "deduplication-in-memory", 200),
  alsoIn("cluster-append", "unknown-is-done", 100),
  alsoIn("cluster-append", "unknown-is-derived-again", 300),
  alsoIn("cluster-append", "reply-before-commit", 100),
  alsoIn("cluster-register", "stale-cache", 300),
  alsoIn("cluster-bank", "shared-rows-unchecked", 200),
  alsoIn("cluster-bank", "half-a-batch", 300),
  alsoIn("cluster-reminders", "due-row-lost", 100),
  alsoIn("cluster-reminders", "reminder-not-deleted", 100),
  alsoIn("cluster-agent-runs", "intent-after-call", 100),
  alsoIn("cluster-agent-runs", "started-forgotten", 300),
  alsoIn("cluster-agent-runs", "progress-forgotten", 200),
  {
    name: "deduplication-window-small",
    breaks: "an invocation is known again for a fraction of a second only",
    workload: "cluster-counter",
    seedsMax: 300,
    wrapStore: (store, { environment }) => recordsForgotten(store, () => environment.clock.elapsed(), 200),
  },
  {
    name: "claim-without-epoch",
    breaks: "who takes an actor over goes on with the epoch of the node before",
    workload: "cluster-register",
    seedsMax: 100,
    wrapStore: (store) => withHeaders(store, (header) => ({ ...header, epoch: 1 })),
  },

  // Leases and members.
  {
    name: "evicted-too-early",
    breaks: "a node is declared dead before its lease must be over",
    workload: "cluster-register",
    seedsMax: 100,
    options: withLeases,
    changeCluster: ({ membership }) =>
      void Object.assign(membership, { timings: { ...membership.timings, lease: membership.timings.lease / 5, margin: 0 } }),
  },
  {
    name: "eviction-unchecked",
    breaks: "a node is declared dead whether or not it has renewed meanwhile",
    workload: "cluster-register",
    seedsMax: 1_000,
    options: withLeases,
    wrapStore: (store) => withoutChecks(store, (check, batch) => rowKind(check.key) === "member" && memberIn(batch)?.state === "dead"),
  },
  {
    name: "living-reported-dead",
    breaks: "a witness takes a process that runs for one that has ended",
    workload: "cluster-register",
    seedsMax: 100,
    options: (swarm) => withCluster(withLeases(swarm), { hasWitness: true }),
    clusterOptions: (options, { random }) => {
      const witness = options.witness!;
      return { ...options, witness: { ...witness, isRunning: (process) => witness.isRunning(process) && !random.chance(0.02) } };
    },
  },
  {
    name: "reads-without-lease",
    breaks: "a node answers from memory whether or not its lease is valid",
    workload: "cluster-register",
    seedsMax: 300,
    options: withLeases,
    changeCluster: ({ placement }) => replaceGetter(placement, "holdsLease", () => true),
  },
  {
    name: "lease-from-reply",
    breaks: "a lease counts from when the answer to its renewal came, not from before that was sent",
    workload: "cluster-register",
    seedsMax: 1_000,
    options: withLeases,
    ...leaseFromReply(),
  },
  {
    name: "lease-longer-than-agreed",
    breaks: "one node believes in its lease for longer than the others wait for it",
    workload: "cluster-register",
    seedsMax: 100,
    options: withLeases,
    clusterOptions: (options, { process }) =>
      process.name === "node-0" ? { ...options, timings: { ...options.timings!, lease: 4 * options.timings!.lease } } : options,
  },
  {
    name: "clock-rate-beyond-bound",
    breaks: "clocks run at rates that differ by far more than leases allow for",
    workload: "cluster-register",
    seedsMax: 300,
    options: (swarm) => withCluster(withLeases(swarm), { rateError: 0.4 }),
  },
  {
    name: "suspension-unseen",
    breaks: "a node does not notice that its monotonic clock stood still while its machine slept",
    workload: "cluster-register",
    seedsMax: 300,
    options: (swarm) => withCluster(withLeases(swarm), { faults: ["suspension", "partition"], faultEveryMilliseconds: 600 }),
    clusterOptions: (options) => {
      const { environment } = options;
      const { clock } = environment;
      const startedAt = clock.now();
      const blind = {
        now: () => startedAt + Math.floor(clock.elapsed()),
        elapsed: () => clock.elapsed(),
        sleep: (milliseconds: number, signal?: AbortSignal) => clock.sleep(milliseconds, signal),
        schedule: (milliseconds: number, callback: () => void) => clock.schedule(milliseconds, callback),
      };
      return { ...options, environment: { ...environment, clock: blind } };
    },
  },
  {
    name: "dead-taken-back",
    breaks: "a process that starts again is the member that it was before",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: (options, { process }) => {
      const { random } = options.environment;
      const bytes = (count: number): Uint8Array => (count === 8 ? Buffer.from(process.name.padEnd(8)) : random.bytes(count));
      const same = { bytes, fraction: () => random.fraction(), uuid: () => random.uuid() };
      return { ...options, environment: { ...options.environment, random: same } };
    },
    wrapStore: (store) => withoutChecks(store, (check) => rowKind(check.key) === "member"),
  },
  {
    name: "renewal-unchecked",
    breaks: "a node renews its lease without looking whether the others take it to be dead",
    workload: "cluster-register",
    seedsMax: 200,
    wrapStore: (store) => withoutChecks(store, (check, batch) => rowKind(check.key) === "member" && memberIn(batch)?.state !== "dead"),
  },
  {
    name: "name-unchecked",
    breaks: "a node takes the name of one that lives",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: (options) => ({ ...options, name: "node" }),
    wrapStore: (store) =>
      withoutChecks(
        withRead(store, async (queries, read) =>
          (await read(queries)).map((answer, at) => (kindOf(queries[at]!) === "member-name" ? [] : answer)),
        ),
        (check) => rowKind(check.key) === "member-name",
      ),
  },
  {
    name: "members-never-looked-at",
    breaks: "a node reads who the members are once, when it joins",
    workload: "cluster-register",
    seedsMax: 100,
    wrapStore: membersReadOnce,
  },

  // Where actors are, and the way there.
  {
    name: "no-single-flight",
    breaks: "an actor can have two activations at one node",
    workload: "cluster-register",
    seedsMax: 100,
    clusterOptions: remembered,
    changeCluster: twoRuntimes,
  },
  {
    name: "redirect-loop",
    breaks: "each node says of an actor that it does not have in memory that it is at another one",
    workload: "cluster-register",
    seedsMax: 100,
    changeCluster: alwaysElsewhere,
  },
  {
    name: "old-reply",
    breaks: "a call whose connection broke gets the reply that came last from that actor",
    workload: "cluster-register",
    seedsMax: 500,
    clusterOptions: (options) => ({ ...options, transport: (node) => withOldReplies(options.transport(node)) }),
  },
  {
    name: "unreachable-though-handled",
    breaks: "a call that may have been handled is taken for one that certainly was not",
    workload: "cluster-append",
    seedsMax: 1_000,
    clusterOptions: (options) => ({
      ...options,
      transport: (node) =>
        withRequest(options.transport(node), async (_, send) => {
          try {
            return await send();
          } catch (error) {
            throw error instanceof ReplyLostError ? new NodeUnreachableError(error.message) : error;
          }
        }),
    }),
  },
  {
    name: "half-open-unseen",
    breaks: "nobody notices that a connection is dead",
    workload: "cluster-register",
    seedsMax: 200,
    options: (swarm) => withCluster(swarm, { pingMilliseconds: 100_000_000 }),
  },
  {
    name: "slots-of-nobody",
    breaks: "the reminders of some slots are no node's to deliver",
    workload: "cluster-reminders",
    seedsMax: 100,
    changeCluster: ({ placement }) => {
      const ownsSlot = placement.ownsSlot.bind(placement);
      placement.ownsSlot = (slot) => slot % 3 !== 0 && ownsSlot(slot);
    },
  },

  // Moves, updates and histories.
  {
    name: "take-back-unchecked",
    breaks: "an actor that was given away is taken back though its new node has it",
    workload: "cluster-moves",
    seedsMax: 1_000,
    wrapStore: takesBack,
  },
  {
    name: "source-goes-on",
    breaks: "a node goes on to answer for an actor that it has given away",
    workload: "cluster-moves",
    seedsMax: 100,
    options: withLeases,
    changeCluster: ({ actors }) => {
      actors.runtime.release = async (_, give) => await give(undefined);
    },
  },
  {
    name: "hand-over-stale",
    breaks: "an activation believes what an earlier move has handed over",
    workload: "cluster-moves",
    seedsMax: 500,
    changeCluster: ({ actors }) => {
      const { runtime } = actors;
      const activate = runtime.activate.bind(runtime);
      const earlier = new Map<string, unknown>();
      runtime.activate = async (id, handedOver) => {
        const value = earlier.get(id.key) ?? handedOver?.value;
        if (value !== undefined) earlier.set(id.key, value);
        await activate(id, handedOver && { ...handedOver, value });
      };
    },
  },
  {
    name: "move-drops",
    breaks: "messages that come for an actor while it moves are lost",
    workload: "cluster-moves",
    seedsMax: 200,
    changeCluster: dropsWhileMoving,
  },
  {
    name: "rows-raised-early",
    breaks: "rows of the next version are written while nodes live that cannot read them",
    workload: "cluster-upgrade",
    seedsMax: 100,
    wrapStore: (store) =>
      withRead(store, async (queries, read) =>
        (await read(queries)).map((answer, at) => (isMembersQuery(queries[at]!) ? answer.filter((entry) => readsNextRows(entry)) : answer)),
      ),
  },
  {
    name: "newer-rows-claimed",
    breaks: "a node takes an actor whose rows are of a version that it cannot read",
    workload: "cluster-upgrade",
    seedsMax: 200,
    clusterOptions: (options) =>
      options.schema?.max === 1
        ? { ...options, store: withReadHeaders(options.store, (header) => ({ ...header, schema: 1 })) }
        : { ...options, store: withHeaders(options.store, (header) => ({ ...header, schema: 2 })) },
  },
  {
    name: "generation-ignored",
    breaks: "a node does not look whether the store's history has gone back",
    workload: "cluster-rewind",
    seedsMax: 300,
    clusterOptions: (options) => ({ ...options, store: withoutGeneration(options.store) }),
  },
];

/** A bug of one process, planted in nodes of a cluster. */
function alsoIn(workload: string, name: string, seedsMax: number): Mutant {
  const mutant = [...planted, ...agentMutants].find((each) => each.name === name)!;
  return { ...mutant, name: `${workload}-${name}`, workload, seedsMax };
}
