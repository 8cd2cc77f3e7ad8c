/** Processes that serve agents over one store, and what must hold whenever something leaves one of them. */
import type { Actors } from "../../src/actors/actor.ts";
import { reminderPrefix } from "../../src/actors/actor-rows.ts";
import { ActorRuntime } from "../../src/actors/actor-runtime.ts";
import { SingleNodePlacement } from "../../src/actors/single-node-placement.ts";
import { type Agents, createAgents } from "../../src/agents/agents.ts";
import { conversationActor, type ConversationAddress, conversationActorType } from "../../src/agents/conversation.ts";
import { effectRows, type EffectRecord } from "../../src/agents/effect-ledger.ts";
import { decodeJson } from "../../src/base/json.ts";
import { decodeTuple, encodeTuple, type Tuple } from "../../src/base/tuple.ts";
import { createBlock } from "../../src/memory/block.ts";
import { transact } from "../../src/storage/transaction.ts";
import { ToolRegistry } from "../../src/tools/tool-registry.ts";
import type { OutsideTool, OutsideToolContext, Tool, ToolInput } from "../../src/tools/tool.ts";
import type { ToolRecord } from "../../src/tools/tool-record.ts";
import { ActorCluster, type ActorProcesses, type ActorTypes, project } from "../actor-cluster.ts";
import { type Incarnation, never, SimulatedProcess } from "../process.ts";
import { KeyedRandom } from "../random.ts";
import { ScriptedModels, scriptedHandle } from "../scripted-model.ts";
import type { World } from "../world.ts";
import { ApprovalWatch } from "./approval-watch.ts";
import { approvedTool, checkedTool, script, toolNames } from "./task.ts";

/** No run here names a server to be told. */
const callback = async (): Promise<number> => 200;
const toolMilliseconds = 3_000;
const modelMilliseconds = 5_000;

/** An agent, its conversations and where its facts go. */
export interface SimulatedAgent {
  readonly id: string;
  readonly ownBlockId: string;
  readonly conversations: readonly ConversationAddress[];
}

/** Processes that say when they have started. */
export interface AgentProcesses extends ActorProcesses {
  started(incarnation: Incarnation): Promise<void>;
}

export type OpenAgentProcesses = (
  world: World,
  types: ActorTypes,
  beforeStop: (incarnation: Incarnation) => Promise<void>,
) => AgentProcesses;

export class AgentCluster {
  readonly world: World;
  readonly processes: readonly SimulatedProcess[];
  /** The effect ids under which each call left a process, by the call's `amount`. */
  readonly effectIds: Map<number, Set<string>> = new Map();
  readonly agents: SimulatedAgent[] = [];
  /** The block that all agents share. */
  sharedBlockId = "";
  readonly approvals: ApprovalWatch;
  readonly #actors: AgentProcesses;
  readonly #nodes = new WeakMap<Incarnation, { readonly agents: Agents; readonly actors: Actors }>();

  /** Makes the agents, then starts the processes that serve them. */
  static async start(
    world: World,
    open: OpenAgentProcesses = (...parts) => new ActorCluster(...parts),
    moreTools: readonly string[] = [],
  ): Promise<AgentCluster> {
    const setup = await new Promise<Incarnation>((resolve) =>
      new SimulatedProcess(world.kernel, { name: "setup", random: world.random, boot: resolve }).start(),
    );
    const { environment } = setup;
    const store = world.disk;
    const tools = new ToolRegistry();
    for (const tool of outsideTools(world, setup)) tools.register(tool);
    await tools.seed(store, environment, project);
    const self = { host: "simulation", pid: 0, started: setup.label };
    const placement = new SingleNodePlacement(store, environment, { self, isRunning: () => false });
    // Making agents needs no actor, so these never start.
    const actors = new ActorRuntime({ store, environment, placement });
    const models = scriptedModels(world, setup);
    const { directory, conversations } = createAgents({ store, environment, models, tools, actors, callback });
    const approvals = new ApprovalWatch(world, environment);
    await approvals.setPolicy();
    const cluster = new AgentCluster(world, approvals, open);
    const shared = await transact(store, environment, async (transaction) =>
      createBlock(transaction, environment, project, { label: "shared", value: "" }),
    );
    cluster.sharedBlockId = shared.id;
    const draws = world.random.stream("agents");
    for (let at = 0; at < Math.min(world.swarm.keys, 3); at++) {
      const agent = await directory.create(project, {
        name: `agent-${at}`,
        model: scriptedHandle,
        system: "You are simulated.",
        memory_blocks: [{ label: "own", value: "" }],
        block_ids: [shared.id],
        include_base_tools: false,
        tools: [...toolNames, ...moreTools],
      });
      const addresses: ConversationAddress[] = [{ project, agentId: agent.id, conversationId: "default" }];
      for (let further = draws.below(3); further > 0; further--) {
        const context_window_limit = draws.pick([1_100, 1_400, null]);
        const conversation = await conversations.create(project, agent.id, { context_window_limit });
        addresses.push({ project, agentId: agent.id, conversationId: conversation.id });
      }
      cluster.agents.push({ id: agent.id, ownBlockId: agent.block_ids[0]!, conversations: addresses });
    }
    return cluster;
  }

  private constructor(world: World, approvals: ApprovalWatch, open: OpenAgentProcesses) {
    this.world = world;
    this.approvals = approvals;
    this.#actors = open(
      world,
      (incarnation, { store, actors }) => {
        const { environment } = incarnation;
        const tools = new SimulatedTools(world);
        for (const tool of this.#watchedTools(incarnation)) tools.register(tool);
        const models = scriptedModels(world, incarnation);
        const agents = createAgents({ store, environment, models, tools, actors: withTypes(actors, world), callback });
        this.#nodes.set(incarnation, { agents, actors });
        return [];
      },
      async (incarnation) => await this.#nodes.get(incarnation)!.agents.stop(),
    );
    this.processes = this.#actors.processes;
    this.#checkReminders();
  }

  /** The agents of an incarnation, when it takes requests. */
  async agentsOf(incarnation: Incarnation): Promise<Agents> {
    await this.#actors.started(incarnation);
    return this.#nodes.get(incarnation)!.agents;
  }

  /** Activations in memory of the processes that run. */
  get live(): number {
    return this.processes.reduce(
      (sum, { incarnation }) => sum + (incarnation === undefined ? 0 : (this.#nodes.get(incarnation)?.actors.live ?? 0)),
      0,
    );
  }

  get conversations(): readonly ConversationAddress[] {
    return this.agents.flatMap((agent) => agent.conversations);
  }

  /** The tools of one process. What they do outside needs an intent that is durable when it leaves (J3). */
  #watchedTools(incarnation: Incarnation): OutsideTool[] {
    const { world } = this;
    const isAlone = (): boolean => this.processes.every((each) => each.incarnation === undefined || each.incarnation === incarnation);
    return outsideTools(world, incarnation, isAlone).map((tool) => ({
      ...tool,
      execute: async (input, context) => {
        const amount = Number(input["amount"]);
        const ids = this.effectIds.get(amount) ?? new Set();
        this.effectIds.set(amount, ids.add(context.effectId));
        await this.#checkIntent(incarnation, tool, input, context);
        return await tool.execute(input, context);
      },
    }));
  }

  async #checkIntent(incarnation: Incarnation, tool: Tool, input: ToolInput, { effectId }: OutsideToolContext): Promise<void> {
    const [runId = ""] = effectId.split(":");
    const record = await this.stored<EffectRecord>([...effectRows(project, runId), effectId]);
    if (incarnation.alive && tool.name === approvedTool) this.approvals.checkLeaving(Number(input["amount"]), effectId, record);
    // A node that has lost the actor without knowing it yet may still make a call: another one has then made it again, if
    // that does no harm, or has said that its outcome is unknown.
    const isLate = record?.state === "unknown" || record?.settled !== undefined || (tool.effect !== "once" && record !== undefined);
    if (incarnation.alive && record?.state !== "started" && !isLate)
      this.world.violation(`J3: ${tool.name} ${JSON.stringify(input)} left as ${effectId}, and the ledger says ${record?.state}`);
  }

  /** A run in progress always has a reminder ahead of it (J9). */
  #checkReminders(): void {
    this.world.onApplied((batch, outcome) => {
      if (!outcome.ok) return;
      for (const write of batch.writes) {
        if (write.kind !== "set") continue;
        const [inProject, kind, type, key, name] = decodeTuple(write.key);
        if (inProject === project && kind === "state" && type === conversationActorType && name === "context")
          void this.#checkReminder(String(key));
      }
    });
  }

  async #checkReminder(key: string): Promise<void> {
    const context = await this.stored<{ runId: string | null }>([project, "state", conversationActorType, key, "context"]);
    if (context === undefined || context.runId === null) return;
    const reminder = await this.stored([...reminderPrefix({ project, type: conversationActorType, key }), "run"]);
    if (reminder === undefined) this.world.violation(`J9: ${context.runId} of ${key} is in progress without a reminder`);
  }

  /** A row as it is in the store. */
  async stored<T>(key: Tuple): Promise<T | undefined> {
    const [answer] = await this.world.disk.read([{ key: encodeTuple(key) }]);
    return answer![0] && decodeJson<T>(answer![0].value);
  }
}

/** The key under which the rows of a conversation are. */
export function keyOf(address: ConversationAddress): string {
  return conversationActor(address).key;
}

/** What a planted bug makes of the tools that change the store. */
class SimulatedTools extends ToolRegistry {
  readonly #world: World;

  constructor(world: World) {
    super();
    this.#world = world;
  }

  override resolve(record: ToolRecord): Tool {
    const tool = super.resolve(record);
    return this.#world.mutant?.wrapTool?.(tool) ?? tool;
  }
}

function withTypes(actors: Actors, { mutant }: World): Actors {
  return {
    register: (type) => actors.register((mutant?.wrapType?.(type as never) as typeof type | undefined) ?? type),
    invoke: (id, message, options) => actors.invoke(id, message, options),
    cancel: (id, reason) => actors.cancel(id, reason),
    inspect: (id) => actors.inspect(id),
    get live() {
      return actors.live;
    },
    [Symbol.asyncDispose]: () => actors[Symbol.asyncDispose](),
  };
}

function scriptedModels(world: World, incarnation: Incarnation): ScriptedModels {
  return new ScriptedModels({
    incarnation,
    random: world.random.stream(`model/${incarnation.label}`),
    script,
    faults: world.swarm.modelFaults,
    faultsUntil: world.swarm.faultsUntil,
    delayMilliseconds: new KeyedRandom(world.random.seed).stream("model delay").pick([0, 1, 10, 100]),
    hangMilliseconds: modelMilliseconds,
    happens: (kind) => world.faultHappens(kind, incarnation.process.name),
  });
}

/** One of each effect class, and one that has to be approved. */
/** `isAlone`: no other process lives that could still make a call. */
function outsideTools(world: World, incarnation: Incarnation, isAlone = (): boolean => false): OutsideTool[] {
  const random = world.random.stream(`tools/${incarnation.label}`);
  const { outsideFaults: faults, faultsUntil } = world.swarm;
  const tools = world.outside
    .tools(incarnation, random, {
      faults,
      faultsUntil,
      latencyMilliseconds: 50,
      happens: (kind) => world.faultHappens(kind, incarnation.process.name),
    })
    .map((tool) => ({ ...tool, timeoutMilliseconds: toolMilliseconds }));
  const once = tools.find((tool) => tool.effect === "once")!;
  const checked = { ...once, name: checkedTool, reconcile: whatBecame(world, incarnation, isAlone) };
  return [...tools, { ...once, name: approvedTool }, checked];
}

/** Says what became of a call of the tool of class `once`, if that can be known. */
function whatBecame(world: World, incarnation: Incarnation, isAlone: () => boolean): NonNullable<OutsideTool["reconcile"]> {
  const random = world.random.stream(`asked/${incarnation.label}`);
  return async (input, { effectId }) => {
    if (!incarnation.cross("effect.asked")) return await never();
    const isRefused = random.chance(0.1);
    await world.sleep(random.fraction() * 50);
    const hasHappened = (world.outside.records.get(`outside_once ${effectId}`)?.effects ?? 0) > 0;
    const canHappen = world.outside.underWay(effectId) > 0 || !isAlone();
    if (!incarnation.cross("effect.told")) return await never();
    if (isRefused) throw new Error("The simulated world is not asked now");
    if (hasHappened) return { outcome: "succeeded", result: { status: "success", text: `did ${JSON.stringify(input)}` } };
    return { outcome: canHappen ? "unknown" : "didNotHappen" };
  };
}
