/** A person who settles what nobody knows, and what must be true of it in the end (U1 to U3 in workloads/effects.ts). */
import type { Agents } from "../../src/agents/agents.ts";
import { type ContextState, stateKeys } from "../../src/agents/conversation.ts";
import { type EffectRecord, type SettledOutcome, settledOutcomes } from "../../src/agents/effect-ledger.ts";
import { decodeTuple, tupleRange } from "../../src/base/tuple.ts";
import { project } from "../actor-cluster.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";
import { type AgentCluster, keyOf } from "./agent-cluster.ts";
import type { FinalState } from "./final-state.ts";

export class EffectPerson {
  readonly #cluster: AgentCluster;
  readonly #world: World;
  readonly #random: RandomStream;
  /** What was acknowledged, by effect id. */
  readonly #settled = new Map<string, SettledOutcome>();

  constructor(cluster: AgentCluster) {
    this.#cluster = cluster;
    this.#world = cluster.world;
    this.#random = cluster.world.random.stream("person");
  }

  /** Settles what is listed, until `isOver`. */
  async work(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#world.sleep(this.#random.fraction() * 1_000);
      const listed = await this.#ask("list unknown effects", (agents) => agents.conversations.unknownEffects(project, { limit: 100 }));
      if (listed === undefined || listed.length === 0) continue;
      await this.#settle(this.#random.pick(listed));
    }
  }

  async #settle(effect: EffectRecord): Promise<void> {
    const { run_id: runId, effect_id: effectId } = effect;
    const before = this.#settled.get(effectId);
    // A list may be older than what was said since, and then saying something else has to be refused (U1).
    const outcome = this.#random.pick(settledOutcomes);
    const said = await this.#ask(`settle ${effectId}`, (agents) =>
      agents.conversations.settleEffect(project, { runId, effectId }, { outcome, note: null }),
    );
    if (said === undefined) return;
    const known = said.ok ? outcome : said.reason === "notUnknown" ? said.effect.settled?.outcome : undefined;
    if (known === undefined)
      return this.#world.violation(`U1: ${effectId} was listed as unknown, and to settle it was answered with ${JSON.stringify(said)}`);
    if (before !== undefined && known !== before) this.#world.violation(`U1: ${effectId} was settled as ${before}, and then as ${known}`);
    this.#settled.set(effectId, known);
    this.#world.operations++;
    if (!said.ok || this.#random.chance(0.7)) return;
    const other = settledOutcomes.find((each) => each !== outcome)!;
    const again = await this.#ask(`settle ${effectId} again`, (agents) =>
      agents.conversations.settleEffect(project, { runId, effectId }, { outcome: other, note: null }),
    );
    if (again?.ok === true) this.#world.violation(`U1: ${effectId} was settled as ${outcome}, and again as ${other}`);
  }

  async #ask<T>(details: string, work: (agents: Agents) => Promise<T>): Promise<T | undefined> {
    const process = this.#random.pick(this.#cluster.processes);
    const outcome = await this.#world.call(process, details, async (incarnation) => work(await this.#cluster.agentsOf(incarnation)));
    // What goes wrong with calls is the other clients' to judge; here only what was acknowledged counts.
    return outcome.kind === "reply" ? outcome.value : undefined;
  }

  /** When nothing goes on any more. */
  async check(state: FinalState): Promise<void> {
    const listed = await this.#listed();
    for (const effect of state.effects.values()) {
      const { effect_id: id, settled } = effect;
      const isListed = effect.state === "unknown" && effect.effect_class !== "readOnly";
      if (listed.delete(id) !== isListed) this.#world.violation(`U2: ${id} is ${effect.state}, and its place in the list says otherwise`);
      const said = this.#settled.get(id);
      if (said !== undefined && (settled?.outcome !== said || effect.state !== said))
        this.#world.violation(`U1: ${id} was settled as ${said}, and it is ${effect.state}`);
      const told = await this.#timesTold(effect, state);
      if (told !== (settled === undefined ? 0 : 1))
        this.#world.violation(`U3: ${id} is ${effect.state}, and its agent is told ${told} times`);
    }
    for (const id of listed) this.#world.violation(`U2: ${id} is listed as unknown, and is no effect`);
  }

  async #listed(): Promise<Set<unknown>> {
    const [answer] = await this.#world.disk.read([{ ...tupleRange([project, "effect.unknown"]), limit: 10_000 }]);
    return new Set(answer!.map(({ key }) => decodeTuple(key).at(-1)));
  }

  /** In the conversation, or with the next message that it gets. */
  async #timesTold(effect: EffectRecord, state: FinalState): Promise<number> {
    const address = this.#cluster.conversations.find(
      ({ agentId, conversationId }) => agentId === effect.agent_id && conversationId === effect.conversation_id,
    )!;
    const context = await this.#cluster.stored<ContextState>([project, "state", "conversation", keyOf(address), ...stateKeys.context]);
    const texts = [
      ...state.messages.get(address)!.map(({ body }) => (body.role === "system" ? body.text : "")),
      ...(context?.settlements ?? []),
    ];
    return texts.filter((text) => text.startsWith(`What became of the call ${effect.tool_call_id} of`)).length;
  }
}
