import { reminderSlots } from "../actors/actor-rows.ts";
import type { RowSchemas } from "../actors/placement.ts";
import type { ChooseOptions, ClusterPlacement, Member } from "./cluster.ts";
import type { Membership, MembershipListener } from "./membership.ts";
import { rendezvous } from "./rendezvous.ts";
import type { NodeAddress } from "./transport.ts";

/** Placement over the members of a cluster (C3, C4, C5). */
export class MemberPlacement implements ClusterPlacement {
  readonly node: string;
  readonly #membership: Membership;
  readonly #listen: () => Promise<NodeAddress | null>;
  readonly #listener: MembershipListener;
  readonly #readsStrictly: boolean;
  #up: { readonly members: readonly Member[]; readonly up: readonly Member[]; slots?: ReadonlySet<number> } = { members: [], up: [] };

  /** `listen` begins to take calls. `readsStrictly`: no answer is given from memory, whatever the clocks say. */
  constructor(
    membership: Membership,
    options: {
      readonly listen: () => Promise<NodeAddress | null>;
      readonly listener: MembershipListener;
      readonly readsStrictly?: boolean;
    },
  ) {
    this.node = membership.node;
    this.#membership = membership;
    this.#listen = options.listen;
    this.#listener = options.listener;
    this.#readsStrictly = options.readsStrictly ?? false;
  }

  /** This node can be reached then, and is not given actors before the membership is `ready`. */
  async join(): Promise<void> {
    await this.#membership.join(await this.#listen(), this.#listener);
  }

  async leave(): Promise<void> {
    await this.#membership.leave();
  }

  /** A member that is seen to live may have died a moment ago; one that is said to be dead is. */
  async isAlive(node: string): Promise<boolean> {
    if (node === this.node) return this.#membership.state !== "dead";
    return (await this.#membership.find(node)) !== undefined;
  }

  get members(): readonly Member[] {
    return this.#membership.members;
  }

  get isUp(): boolean {
    return this.#membership.state === "up";
  }

  get isDraining(): boolean {
    return this.#membership.state === "draining";
  }

  /** Whether `node` is among the members as last seen. */
  sees(node: string): boolean {
    return this.#membership.sees(node);
  }

  /** A member that is not dead. */
  async find(node: string): Promise<Member | undefined> {
    return await this.#membership.find(node);
  }

  get holdsLease(): boolean {
    return !this.#readsStrictly && this.#membership.holdsLease;
  }

  get schema(): RowSchemas {
    return { readable: this.#membership.schema.max, writable: this.#membership.schemaWritten };
  }

  choose(actorName: string, options: ChooseOptions = {}): Member | undefined {
    const { schema = 0, affinity, except } = options;
    const candidates = this.#view.up.filter((member) => member.schema.max >= schema && member.node !== except);
    return candidates.find(({ node }) => node === affinity) ?? rendezvous(actorName, candidates);
  }

  /** Whether this node delivers the reminders of a slot. */
  ownsSlot(slot: number): boolean {
    return this.#slots.has(slot);
  }

  /** The member that delivers the reminders of a slot. */
  slotOwner(slot: number): Member | undefined {
    return rendezvous(`slot ${slot}`, this.#view.up);
  }

  get #view(): { readonly members: readonly Member[]; readonly up: readonly Member[]; slots?: ReadonlySet<number> } {
    const { members } = this.#membership;
    if (this.#up.members !== members) this.#up = { members, up: members.filter((member) => member.state === "up") };
    return this.#up;
  }

  get #slots(): ReadonlySet<number> {
    const view = this.#view;
    // While nobody is up, whoever is there does it.
    view.slots ??= new Set(
      Array.from({ length: reminderSlots }, (_, slot) => slot).filter((slot) => (this.slotOwner(slot)?.node ?? this.node) === this.node),
    );
    return view.slots;
  }
}
