import { tupleRange } from "../base/tuple.ts";
import { decodeJson } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { commitUntilKnown, Transaction } from "../storage/transaction.ts";
import { headerSchema, memberKey, memberPrefix, type MemberRow } from "./actor-rows.ts";
import type { Placement, RowSchemas } from "./placement.ts";
import type { ProcessTable } from "./process-table.ts";

const membersMax = 1_000;

/**
 * Placement for processes of one host over one embedded store: whoever is asked for an actor takes it, unless the
 * process that has it still runs. Whether it does is asked of the process table, so an actor of a process that was
 * killed can be taken over at once.
 */
export class SingleNodePlacement implements Placement {
  readonly node: string;
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #processes: ProcessTable;

  constructor(store: Store, environment: Environment, processes: ProcessTable) {
    const { host, pid } = processes.self;
    this.node = `${host}:${pid}:${environment.random.uuid().slice(-8)}`;
    this.#store = store;
    this.#environment = environment;
    this.#processes = processes;
  }

  /** Writes this node's member row, and deletes those of processes that do not run any more. */
  async join(): Promise<void> {
    const transaction = new Transaction(this.#store);
    const [answer] = await this.#store.read([{ ...tupleRange(memberPrefix), limit: membersMax }]);
    for (const entry of answer ?? []) {
      const member = decodeJson<MemberRow>(entry.value);
      if (isOfCluster(member) || this.#processes.isRunning(member)) continue;
      transaction.delete(memberKey(member.node));
    }
    const row: MemberRow = { ...this.#processes.self, node: this.node, joined: this.#environment.clock.now() };
    transaction.set(memberKey(this.node), row);
    await commitUntilKnown(this.#store, this.#environment, transaction.toBatch(this.#environment.random.uuid()));
    this.#environment.probe("placement.joined");
  }

  async leave(): Promise<void> {
    const transaction = new Transaction(this.#store);
    transaction.delete(memberKey(this.node));
    await commitUntilKnown(this.#store, this.#environment, transaction.toBatch(this.#environment.random.uuid()));
  }

  async isAlive(node: string): Promise<boolean> {
    if (node === this.node) return true;
    const member = await new Transaction(this.#store).get<MemberRow>(memberKey(node));
    if (member !== undefined && isOfCluster(member)) return member.state !== "dead";
    return member !== undefined && this.#processes.isRunning(member);
  }

  get schema(): RowSchemas {
    return { readable: headerSchema, writable: headerSchema };
  }

  /** A process that was replaced has ended: there is nobody to give a stale answer. */
  get holdsLease(): boolean {
    return true;
  }
}

/** Whether a row is that of a node of a cluster over the same store: it is not for this class to say that it is dead. */
function isOfCluster(row: object): row is { readonly state: string } {
  return "state" in row;
}
