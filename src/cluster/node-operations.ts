/** What a person does with the nodes of a cluster, at any of them: looks at one, empties it, lets it take part again. */
import type { ActorRuntime } from "../actors/actor-runtime.ts";
import type { CallTable } from "./call-table.ts";
import { Body } from "./calls.ts";
import type { Member, MemberState } from "./cluster.ts";
import type { Membership } from "./membership.ts";
import type { NodeDrain, Refusal } from "./node-drain.ts";
import { NodeUnreachableError, type Transport, type Wire } from "./transport.ts";

export const statusMethod = "node-status";
const drainMethod = "node-drain";
const undoDrainMethod = "node-undo-drain";
const statusMilliseconds = 1_000;
const changeMilliseconds = 20_000;

export interface NodeStatus {
  readonly state: MemberState;
  /** In its memory. A node that drains has drained when there is none. */
  readonly actors: number;
}

export interface NodeOperationsParts {
  readonly membership: Membership;
  readonly transport: Transport;
  readonly runtime: ActorRuntime;
  readonly drain: NodeDrain;
  readonly calls: CallTable;
}

export class NodeOperations {
  readonly #parts: NodeOperationsParts;

  constructor(parts: NodeOperationsParts) {
    this.#parts = parts;
    const { calls } = parts;
    calls.onRequest(statusMethod, async () => this.#status());
    calls.onRequest(drainMethod, async () => (await parts.drain.start()) ?? null);
    calls.onRequest(undoDrainMethod, async () => (await parts.drain.undo()) ?? null);
  }

  /** @throws {NodeUnreachableError} And what else a transport throws: the node did not say. */
  async status(member: Member): Promise<NodeStatus> {
    if (this.#isSelf(member)) return this.#status();
    const body = new Body(await this.#ask(member, statusMethod, statusMilliseconds));
    return { state: body.text("state") as MemberState, actors: body.integer("actors") };
  }

  /** The node gives its actors to the others and goes on to answer. Resolves when that has begun; may be repeated. Throws as `status` does. */
  async drain(member: Member): Promise<Refusal> {
    return this.#isSelf(member) ? await this.#parts.drain.start() : await this.#change(member, drainMethod);
  }

  /** The node takes part again. May be repeated. Throws as `status` does. */
  async undoDrain(member: Member): Promise<Refusal> {
    return this.#isSelf(member) ? await this.#parts.drain.undo() : await this.#change(member, undoDrainMethod);
  }

  #status(): NodeStatus {
    const { membership, runtime } = this.#parts;
    return { state: membership.state, actors: runtime.live };
  }

  #isSelf(member: Member): boolean {
    return member.node === this.#parts.membership.node;
  }

  async #change(member: Member, method: string): Promise<Refusal> {
    const answer = await this.#ask(member, method, changeMilliseconds);
    return typeof answer === "string" ? answer : undefined;
  }

  async #ask({ node, address }: Member, method: string, timeoutMilliseconds: number): Promise<Wire> {
    if (address === null) throw new NodeUnreachableError(`Node ${node} takes no calls of other nodes`);
    return await this.#parts.transport.request(address, method, {}, { timeoutMilliseconds, class: "control" });
  }
}
