/**
 * This node as a member, and what it sees of the others (C1, C2, C4).
 *
 * M1. This node's row is changed by one commit at a time, each on the version that the one before has left. One that
 *     fails shows a late commit of this node's own, one that vouched for it (vouch-for.ts), or that the others take it
 *     to be dead.
 * M2. A node that is taken to be dead says so once, to its listener, and never renews again.
 * M3. Rows are read at least every `renew`; that a row has changed is told earlier where the store can watch.
 */
import { headerSchema } from "../actors/actor-rows.ts";
import type { ProcessIdentity } from "../actors/process-table.ts";
import { assert } from "../base/assert.ts";
import { encodeJson } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { Batch, Store } from "../storage/store.ts";
import { commitUntilKnown } from "../storage/transaction.ts";
import {
  type ClusterTimings,
  defaultTimings,
  evictionMilliseconds,
  type Member,
  type MemberState,
  NodeFencedError,
  NodeNameTakenError,
} from "./cluster.ts";
import { protocol } from "./hello.ts";
import { Lease, momentOf } from "./lease.ts";
import {
  announcement,
  changesKey,
  memberCheck,
  memberDelete,
  type MemberRow,
  memberWrite,
  nameKey,
  type ClusterRows,
  readCluster,
  readMember,
  readName,
} from "./member-rows.ts";
import { Observations } from "./observations.ts";
import { incompatibility } from "./incompatibility.ts";
import { declareDead, reportDead } from "./report-dead.ts";
import { raiseRowSchema, refuseNewerRows, rowSchemaCheck } from "./row-schema.ts";
import type { NodeAddress } from "./transport.ts";

/** How long the row of a dead member stays, for people to see. */
const deadMilliseconds = 600_000;
/** How often the processes of this host are looked at. */
const witnessMilliseconds = 100;
const joinAttemptsMax = 16;
/** Dead nodes that are remembered; one that is forgotten is only looked up again. */
const goneMax = 10_000;

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

/** What tells at once that a node of this host has ended. */
export interface Witness {
  readonly self: ProcessIdentity;
  /** Whether the process would be seen if it ran. */
  sees(process: ProcessIdentity): boolean;
  isRunning(process: ProcessIdentity): boolean;
}

export interface MembershipOptions {
  /** With `generation`, where history can go backwards: a text that is another one then. */
  readonly store: Store & { readonly generation?: () => string | Promise<string> };
  readonly environment: Environment;
  /** What people call this node: 1 to 63 characters of `a-z A-Z 0-9 . _ -`. */
  readonly name: string;
  /** Relative share of the actors; 1 by default. */
  readonly capacity?: number;
  readonly timings?: ClusterTimings;
  readonly wire?: VersionRange;
  readonly schema?: VersionRange;
  readonly witness?: Witness;
  /** Whether this node speaks TLS with others; not by default. */
  readonly isSecure?: boolean;
}

export interface MembershipListener {
  /** Living members have come, changed or died. */
  membersChanged(change: { readonly up: readonly Member[]; readonly died: readonly Member[] }): void;
  /** This node is taken to be dead (M2). */
  fenced(reason: NodeFencedError): void;
  /** The store's history may have gone backwards: nothing in memory is to be believed. */
  generationChanged(): void;
}

export class Membership {
  readonly node: string;
  readonly name: string;
  readonly timings: ClusterTimings;
  /** The versions of rows that this node can read. */
  readonly schema: VersionRange;
  readonly #options: MembershipOptions;
  readonly #lease: Lease;
  readonly #observations: Observations;
  readonly #stop = new AbortController();
  #listener: MembershipListener | undefined;
  #own: MemberRow | undefined;
  #isFenced = false;
  /** Changes of the own row wait for each other (M1). */
  #changing: Promise<void> = Promise.resolve();
  #living = new Map<string, Member>();
  #members: readonly Member[] = [];
  /** Nodes that are certainly dead: actors name their last owner for as long as nobody calls them. */
  readonly #gone = new Set<string>();
  #observing: Promise<void> | undefined;
  #observingNext: Promise<void> | undefined;
  #generation: string | undefined;
  #schemaWritten = 1;

  /** @throws {TypeError} The name or the capacity is not valid. */
  constructor(options: MembershipOptions) {
    const { environment, name, capacity = 1, timings = defaultTimings } = options;
    if (!/^[a-zA-Z0-9._-]{1,63}$/.test(name))
      throw new TypeError(`A node's name has 1 to 63 characters of a-z A-Z 0-9 . _ -, not ${JSON.stringify(name.slice(0, 100))}`);
    if (!(capacity > 0 && capacity <= 1_000_000)) throw new TypeError(`A node's capacity is above 0 and at most 1000000, not ${capacity}`);
    this.#options = options;
    this.name = name;
    this.node = `${name}#${Buffer.from(environment.random.bytes(8)).toString("hex")}`;
    this.timings = timings;
    this.schema = options.schema ?? { min: 1, max: headerSchema };
    this.#lease = new Lease(environment.clock, { milliseconds: timings.lease, suspensionMax: timings.margin });
    this.#observations = new Observations(this.node, 4 * timings.renew);
  }

  /** The members that are not dead, as last seen, in the order of their nodes. With this one, from when it joins. */
  get members(): readonly Member[] {
    return this.#members;
  }

  sees(node: string): boolean {
    return this.#living.has(node);
  }

  /** This node's own state; `dead` also before it joins. */
  get state(): MemberState {
    return this.#isFenced ? "dead" : (this.#own?.member.state ?? "dead");
  }

  get holdsLease(): boolean {
    return this.#lease.isValid;
  }

  /** The version of rows that the cluster writes: grows when all of its nodes read the next one. */
  get schemaWritten(): number {
    return this.#schemaWritten;
  }

  /** Becomes a member, in the state `joining`. Once. @throws {NodeNameTakenError} @throws {IncompatibleNodeError} */
  async join(address: NodeAddress | null, listener: MembershipListener): Promise<void> {
    assert(this.#own === undefined && !this.#stop.signal.aborted, "C1: a member joins once");
    this.#listener = listener;
    const { store, environment } = this.#options;
    for (let attempt = 1; this.#own === undefined; attempt++) {
      const rows = await readCluster(store);
      this.#observations.observe(rows.members, environment.clock.elapsed());
      const { schema } = this;
      const { wire = protocol, isSecure = false } = this.#options;
      refuseNewerRows(rows.schema, schema.max);
      for (const { member } of rows.members) {
        const reason = member.state === "dead" ? undefined : incompatibility(member, { wire, schema, isSecure });
        if (reason !== undefined) await this.#awaitEndOf(member.node, () => reason);
      }
      const name = await readName(store, this.name);
      if (name.node !== undefined) await this.#awaitEndOf(name.node, (member) => nameTaken(this.name, member));
      const member: Member = {
        node: this.node,
        name: this.name,
        state: "joining",
        address,
        capacity: this.#options.capacity ?? 1,
        wire,
        schema,
        ...(isSecure ? { isSecure } : {}),
        beat: 0,
        ...(this.#options.witness === undefined ? {} : { process: this.#options.witness.self }),
        joinedAt: environment.clock.now(),
      };
      const sentAt = momentOf(environment.clock);
      const outcome = await this.#commit({
        checks: [{ key: nameKey(this.name), version: name.version }, memberCheck(this.node, null), rowSchemaCheck(rows.schema)],
        writes: [{ kind: "set", key: nameKey(this.name), value: encodeJson(this.node) }, memberWrite(member), announcement()],
      });
      if (outcome.ok) {
        this.#lease.grant(sentAt);
        this.#own = { member, version: outcome.version, isSingle: false };
        this.#schemaWritten = rows.schema.written;
      } else if (attempt === joinAttemptsMax)
        throw new NodeNameTakenError(`Other nodes called ${this.name} are starting too: give each node a name of its own`);
    }
    environment.probe("cluster.joined");
    this.#generation = await store.generation?.();
    await this.#observe();
    void this.#renewLoop();
    void this.#observeLoop();
    void this.#watchLoop();
    if (this.#options.witness !== undefined) this.#scheduleWitness();
  }

  /** From now on this node is given actors. */
  async ready(): Promise<void> {
    await this.#change("up");
  }

  /** From now on this node is given nothing new. */
  async drain(): Promise<void> {
    await this.#change("draining");
  }

  /** Says that this node is gone, when nothing of it runs any more. */
  async leave(): Promise<void> {
    if (this.state === "dead") return;
    try {
      await this.#change("dead");
    } catch (error) {
      this.#options.environment.log.write("warn", "A node could not say that it leaves; the others will see it", { error });
    }
    this.#lease.lose();
    this.#stop.abort();
  }

  /** Ends as a crash would, without a word to anybody. */
  abandon(): void {
    this.#lease.lose();
    this.#stop.abort();
  }

  /** Says that a node is dead, for whoever has seen its process end (see `reportDead`). */
  async markDead(node: string): Promise<void> {
    await reportDead(this.#options.store, this.#options.environment, node);
    await this.#observe();
  }

  /** The row of a member that is not dead: as last seen, or from the store. One that is gone never comes back (C1). */
  async find(node: string): Promise<Member | undefined> {
    const known = this.#living.get(node);
    if (known !== undefined || this.#gone.has(node)) return known;
    const row = await readMember(this.#options.store, node);
    if (row !== undefined && row.member.state !== "dead") return row.member;
    this.#gone.add(node);
    if (this.#gone.size > goneMax) this.#gone.delete(this.#gone.values().next().value!);
    return undefined;
  }

  // The own row.

  #change(state?: MemberState): Promise<void> {
    const changed = this.#changing.then(() => this.#changeNow(state));
    this.#changing = changed.catch(() => {
      // Whoever asked for the change hears of it; the next one begins anew.
    });
    return changed;
  }

  async #changeNow(state?: MemberState): Promise<void> {
    const { store, environment } = this.#options;
    for (;;) {
      if (this.#own === undefined || this.state === "dead") throw new NodeFencedError(`Node ${this.node} is no member any more`);
      const { member: before, version } = this.#own;
      const member: Member = { ...before, state: state ?? before.state, beat: before.beat + 1 };
      const sentAt = momentOf(environment.clock);
      const outcome = await this.#commit({
        checks: [memberCheck(this.node, version)],
        writes: [memberWrite(member), ...(member.state === before.state ? [] : [announcement()])],
      });
      if (outcome.ok) {
        this.#own = { member, version: outcome.version, isSingle: false };
        if (member.state === "dead") this.#lease.lose();
        else if (!this.#stop.signal.aborted) this.#lease.grant(sentAt);
        if (member.state !== before.state) this.#see(this.#living.values());
        return;
      }
      const row = await readMember(store, this.node);
      if (row === undefined || row.member.state === "dead") throw this.#fence();
      // A row from before the last one that this node wrote is of a history that has gone back: the node is what it was.
      this.#own = row.member.beat < before.beat ? { ...row, member: { ...row.member, state: before.state } } : row;
    }
  }

  #fence(): NodeFencedError {
    const reason = new NodeFencedError(`The other nodes take ${this.node} to be dead: it was silent for longer than its lease`);
    if (this.#isFenced) return reason;
    this.#isFenced = true;
    this.#lease.lose();
    this.#stop.abort();
    this.#options.environment.probe("cluster.fenced");
    this.#listener?.fenced(reason);
    return reason;
  }

  async #renewLoop(): Promise<void> {
    const { environment } = this.#options;
    const { signal } = this.#stop;
    let pause = this.timings.renew;
    for (;;) {
      await environment.clock.sleep(pause, signal);
      if (signal.aborted) return;
      try {
        await this.#change();
        pause = this.timings.renew;
      } catch (error) {
        if (error instanceof NodeFencedError) return;
        environment.probe("cluster.renewalFailed");
        environment.log.write("warn", "A node could not renew its lease", { node: this.node, error });
        pause = this.timings.renew / 8;
      }
    }
  }

  // The others.

  async #observeLoop(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await this.#options.environment.clock.sleep(this.timings.renew, signal);
      if (signal.aborted) return;
      await this.#observeIfPossible();
    }
  }

  async #watchLoop(): Promise<void> {
    const { store, environment } = this.#options;
    try {
      for await (const _ of store.watch([changesKey], this.#stop.signal)) await this.#observeIfPossible();
    } catch (error) {
      environment.log.write("warn", "The store watches no more; changes of members are seen later", { error });
    }
  }

  #scheduleWitness(): void {
    this.#options.environment.clock.schedule(witnessMilliseconds, () => {
      if (this.#stop.signal.aborted) return;
      if (this.#members.some((member) => this.#hasExited(member.process))) void this.#observeIfPossible();
      this.#scheduleWitness();
    });
  }

  #hasExited(process: ProcessIdentity | undefined): boolean {
    const { witness } = this.#options;
    return witness !== undefined && process !== undefined && witness.sees(process) && !witness.isRunning(process);
  }

  async #observeIfPossible(): Promise<void> {
    try {
      await this.#observe();
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#options.environment.log.write("warn", "The members could not be read", { error });
    }
  }

  /** Resolves when the members were read that were there at this call. One reads at a time, so none is seen to come back. */
  #observe(): Promise<void> {
    if (this.#observing !== undefined) {
      const again = (): Promise<void> => {
        this.#observingNext = undefined;
        return this.#observe();
      };
      return (this.#observingNext ??= this.#observing.then(again, again));
    }
    const observing = this.#observeNow().finally(() => {
      if (this.#observing === observing) this.#observing = undefined;
    });
    return (this.#observing = observing);
  }

  /** Reads the members, and says of those that are gone that they are (C2). */
  async #observeNow(): Promise<void> {
    const { store, environment } = this.#options;
    let rows = await readCluster(store);
    const now = environment.clock.elapsed();
    this.#observations.observe(rows.members, now);
    let hasEvicted = false;
    for (const row of rows.members) {
      if (row.member.node === this.node) continue;
      if (row.member.state === "dead") await this.#forget(row, now);
      else {
        const why = this.#whyDead(row, now);
        if (why !== undefined && (await this.#evict(row, why))) hasEvicted = true;
      }
    }
    if (hasEvicted) rows = await readCluster(store);
    if (this.#stop.signal.aborted) return;
    const own = rows.members.find(({ member }) => member.node === this.node);
    // After `leave` began, the own row may say so before its commit is answered.
    if (this.#own !== undefined && this.#own.member.state !== "dead" && (own === undefined || own.member.state === "dead")) {
      await this.#changing;
      if (this.state !== "dead") this.#fence();
      return;
    }
    this.#see(rows.members.map(({ member }) => member).filter((member) => member.state !== "dead"));
    this.#seeSchema(rows.schema.written);
    const generation = await store.generation?.();
    if (generation !== this.#generation) {
      this.#generation = generation;
      environment.probe("cluster.generationChanged");
      this.#listener?.generationChanged();
    }
    await this.#raiseSchema(rows);
  }

  #seeSchema(written: number): void {
    if (written <= this.#schemaWritten) return;
    this.#schemaWritten = written;
    this.#options.environment.log.write("info", "Rows are written in a newer version: older nodes cannot join any more", { written });
  }

  /** Lets the version of rows that is written grow, when every node reads the next one. This one sees it as the others do. */
  async #raiseSchema(rows: ClusterRows): Promise<void> {
    const batch = raiseRowSchema(rows);
    if (batch !== undefined && (await this.#commit(batch)).ok) this.#options.environment.probe("cluster.schemaRaised", "sometimes");
  }

  #whyDead(row: MemberRow, now: number): string | undefined {
    const { witness } = this.#options;
    if (row.isSingle && witness !== undefined) {
      const isRunning = witness.isRunning(row.member.process!);
      return isRunning ? undefined : "its process does not run";
    }
    if (this.#hasExited(row.member.process)) return "its process has ended";
    const silent = this.#observations.unchangedFor(row, now);
    return silent >= evictionMilliseconds(this.timings) ? `it was silent for ${Math.round(silent)} ms` : undefined;
  }

  /** False: the member has shown a sign of life meanwhile. */
  async #evict(row: MemberRow, why: string): Promise<boolean> {
    const { store, environment } = this.#options;
    if (!(await declareDead(store, environment, row))) {
      environment.probe("cluster.evictionRaced", "sometimes");
      return false;
    }
    environment.probe("cluster.evicted");
    environment.log.write("warn", "A node is dead", { node: row.member.node, why });
    return true;
  }

  /** Deletes the row of a member that died long ago, and its name with it. */
  async #forget(row: MemberRow, now: number): Promise<void> {
    if (this.#observations.unchangedFor(row, now) < deadMilliseconds) return;
    const { node, name } = row.member;
    const named = await readName(this.#options.store, name);
    const isItsName = named.node === node;
    await this.#commit({
      checks: [memberCheck(node, row.version), ...(isItsName ? [{ key: nameKey(name), version: named.version }] : [])],
      writes: [memberDelete(node), ...(isItsName ? [{ kind: "delete", key: nameKey(name) } as const] : [])],
    });
  }

  /** Takes note of who lives. */
  #see(rows: Iterable<Member>): void {
    const before = this.#living;
    const living = new Map<string, Member>();
    for (const member of rows) living.set(member.node, member.node === this.node ? this.#own!.member : member);
    if (this.#own !== undefined && this.#own.member.state !== "dead") living.set(this.node, this.#own.member);
    else living.delete(this.node);
    this.#living = living;
    this.#members = [...living.values()].sort((left, right) => (left.node < right.node ? -1 : 1));
    const up = this.#members.filter((member) => member.state === "up" && before.get(member.node)?.state !== "up");
    const died = [...before.values()].filter((member) => !living.has(member.node));
    const hasChanged = died.length > 0 || this.#members.some((member) => before.get(member.node)?.state !== member.state);
    if (hasChanged) this.#listener?.membersChanged({ up, died });
  }

  /** Resolves when a node that is in the way is dead, as it may be since long. Throws what `isAlive` gives if it is not. */
  async #awaitEndOf(node: string, isAlive: (member: Member) => Error): Promise<void> {
    const { store, environment } = this.#options;
    let first: MemberRow | undefined;
    for (;;) {
      const row = await readMember(store, node);
      if (row === undefined || row.member.state === "dead") return;
      first ??= row;
      if (row.version !== first.version) throw isAlive(row.member);
      const now = environment.clock.elapsed();
      this.#observations.observe([row], now);
      const why = this.#whyDead(row, now);
      if (why !== undefined) await this.#evict(row, why);
      else await environment.clock.sleep(this.timings.renew / 4);
    }
  }

  async #commit(batch: Omit<Batch, "id">): ReturnType<typeof commitUntilKnown> {
    const { store, environment } = this.#options;
    // When the store comes back after an outage, the others wait for a renewal no longer than for any.
    const options = { pauseMillisecondsMax: this.timings.renew / 2 };
    return await commitUntilKnown(store, environment, { id: environment.random.uuid(), ...batch }, options);
  }
}

function nameTaken(name: string, { node, address }: Member): NodeNameTakenError {
  return new NodeNameTakenError(
    `A node called ${name} is alive (${node}, at ${address ?? "no address"}): start this one under another name, or stop that one`,
  );
}
