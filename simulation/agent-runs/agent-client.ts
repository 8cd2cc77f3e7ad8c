/** A client of agents: sends tasks, follows their runs over cuts and crashes, answers approvals, and notes what it was told. */
import type { Agents } from "../../src/agents/agents.ts";
import type { ApprovalDecision, ToolReturn } from "../../src/agents/chat-message.ts";
import type { ConversationAddress } from "../../src/agents/conversation.ts";
import type { ApprovalMessage, CancelOutcome, InputMessage, SendOutcome, SendRequest } from "../../src/agents/conversations.ts";
import type { RunEvent } from "../../src/agents/run-events.ts";
import { runs } from "../../src/agents/run.ts";
import { encodeTuple, tupleRange } from "../../src/base/tuple.ts";
import { decodeJson } from "../../src/base/json.ts";
import { project } from "../actor-cluster.ts";
import type { Incarnation, SimulatedProcess } from "../process.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";
import { type AgentCluster, keyOf } from "./agent-cluster.ts";
import { openStream } from "./connection.ts";
import { clientTool, type Task, taskText } from "./task.ts";

/** After the faults have stopped, everything that was begun comes to its end within this time. */
export const settleMilliseconds = 600_000;

/** One request of a task and its run: the first has the task, later ones answer approvals. */
export interface Leg {
  readonly otid: string;
  messages: readonly InputMessage[];
  readonly background: boolean;
  readonly streamTokens: boolean;
  readonly stepsMax: number;
  /** Once the request was acknowledged. */
  runId: string | undefined;
  /** Every event that arrived, over all connections. */
  readonly events: RunEvent[];
  connections: number;
  /** The last event arrived. */
  isFinished: boolean;
  /** The client has asked for its end. */
  isCancelAsked: boolean;
  /** Somebody was told that the run is cancelled, when it had so many messages. */
  cancelledAt: { readonly messages: number } | undefined;
}

export interface Note {
  readonly task: Task;
  readonly address: ConversationAddress;
  readonly legs: Leg[];
}

/** Errors that say: try again, here or at another process. */
const passingErrors = [
  "ActivationLostError",
  "ActorElsewhereError",
  "ActorsStoppedError",
  "CancelledError",
  "CommitUnknownError",
  "ConflictError",
  "DeadlineExceededError",
  "MailboxFullError",
  "StoreUnavailableError",
];

export class AgentClient {
  readonly notes: Note[] = [];
  readonly #cluster: AgentCluster;
  readonly #world: World;
  /** The draws of the operation under way. */
  #random: RandomStream;
  readonly #name: string;
  #process: SimulatedProcess;

  constructor(cluster: AgentCluster, name: string) {
    this.#cluster = cluster;
    this.#world = cluster.world;
    this.#name = name;
    this.#random = cluster.world.random.stream(`client/${name}`);
    this.#process = this.#random.pick(cluster.processes);
  }

  /** Brings one task to its end. */
  async work(task: Task): Promise<void> {
    const random = this.#random;
    const note: Note = { task, address: random.pick(this.#cluster.conversations), legs: [] };
    this.notes.push(note);
    const stepsMax = task.plan === "long" ? random.pick([3, 50]) : 50;
    let messages: readonly InputMessage[] | undefined = [{ type: "message", role: "user", content: taskText(task), otid: `${task.id}/0` }];
    while (messages !== undefined) {
      const leg: Leg = {
        otid: `${task.id}/${note.legs.length}`,
        messages,
        background: random.chance(0.6),
        streamTokens: random.chance(0.7),
        stepsMax,
        runId: undefined,
        events: [],
        connections: 0,
        isFinished: false,
        isCancelAsked: false,
        cancelledAt: undefined,
      };
      note.legs.push(leg);
      if (!(await this.#send(note, leg))) return;
      const cancels = random.chance(0.12) ? this.#cancel(note, leg) : undefined;
      await this.#follow(note, leg);
      await cancels;
      const answer = this.#answer(note, leg);
      if (random.chance(0.1)) await this.#sendAgain(note, leg);
      if (leg.messages[0]?.type === "approval" && this.#random.chance(0.3)) await this.#mustRefuse(note, leg, leg.messages[0]);
      messages = answer === undefined ? undefined : await this.#afterAWhile(note, leg, answer);
    }
  }

  /** Waits before operation number `operation`. */
  async think(operation: number): Promise<void> {
    const { swarm } = this.#world;
    this.#random = this.#world.random.stream(`client/${this.#name}.${operation}`);
    await this.#world.sleep(this.#random.fraction() * swarm.thinkMilliseconds);
    if (!this.#random.chance(swarm.stickiness)) this.#process = this.#random.pick(this.#cluster.processes);
  }

  /** When everything must have come to its end. */
  get #deadline(): number {
    const { swarm } = this.#world;
    return swarm.faultsUntil + swarm.outageMilliseconds + settleMilliseconds;
  }

  get #isOverdue(): boolean {
    return this.#world.kernel.now >= this.#deadline;
  }

  /** Sends until the request is taken. False: what it would answer is over. */
  async #send(note: Note, leg: Leg): Promise<boolean> {
    const isOutdated = approvesCall(leg) && !(await this.#cluster.approvals.isCurrent(requestIdOf(leg)));
    while (leg.runId === undefined) {
      const outcome = await this.#ask(note, `send ${leg.otid}`, async (agents, incarnation) => {
        const sent = await agents.conversations.send(note.address, requestOf(leg));
        if (sent.ok) await this.#checkAccepted(incarnation, note, leg, sent.runId);
        return sent;
      });
      if (outcome === undefined) {
        if (this.#isOverdue) return this.#never(note, leg, "was never taken");
        if (this.#random.chance(0.3)) await this.#findRun(note, leg);
      } else if (outcome.ok) {
        this.#world.operations++;
        leg.runId = outcome.runId;
        if (isOutdated && approvesCall(leg))
          this.#world.violation(`J10: ${leg.otid} was taken, and its tool had changed before it was sent`);
      } else if (outcome.reason === "approvalExpired" || outcome.reason === "approvalOutdated")
        await this.#denyInstead(leg, outcome.reason);
      else if (!this.#mayBeRefused(note, leg, outcome)) return false;
      else await this.#world.sleep(20 + this.#random.fraction() * 300);
    }
    return true;
  }

  /** Whether to try again after a refusal. */
  #mayBeRefused(note: Note, leg: Leg, refusal: SendOutcome & { readonly ok: false }): boolean {
    const isAnswer = leg.messages[0]?.type === "approval";
    if (refusal.reason === "busy") return this.#isOverdue ? this.#never(note, leg, "found its conversation busy for ever") : true;
    if (refusal.reason === "pendingApproval" && !isAnswer)
      return this.#isOverdue ? this.#never(note, leg, "found its conversation waiting for ever") : true;
    // A cancel of the run that waited, or a message after the time of its approval, has closed it, and others may wait by now.
    const isClosed = note.legs.at(-2)?.isCancelAsked === true || (this.#cluster.approvals.mayExpire && note.task.plan !== "client");
    if (!isAnswer || !isClosed) this.#world.violation(`J1: ${leg.otid} was refused with ${JSON.stringify(refusal)}`);
    return false;
  }

  async #denyInstead(leg: Leg, reason: "approvalExpired" | "approvalOutdated"): Promise<void> {
    const { approvals } = this.#cluster;
    const isRight = reason === "approvalExpired" ? approvals.mayExpire : !(await approvals.isCurrent(requestIdOf(leg)));
    if (!isRight || !approvesCall(leg)) this.#world.violation(`J10: ${leg.otid} was refused as ${reason}`);
    leg.messages = leg.messages.map((message) =>
      message.type === "approval"
        ? { ...message, decisions: message.decisions.map((each) => ("approve" in each ? { ...each, approve: false } : each)) }
        : message,
    );
  }

  /** Looks for the run whose acknowledgement got lost, as a client does that comes back. */
  async #findRun(note: Note, leg: Leg): Promise<void> {
    const found = await this.#ask(note, `find ${leg.otid}`, async (agents) => {
      const run = await agents.conversations.runOfOtid(note.address, leg.otid);
      return { runId: run?.id };
    });
    leg.runId ??= found?.runId;
  }

  /** A request that was taken is answered with its run, however late it comes again. */
  async #sendAgain(note: Note, leg: Leg): Promise<void> {
    const outcome = await this.#ask(note, `send again ${leg.otid}`, (agents) => agents.conversations.send(note.address, requestOf(leg)));
    if (outcome !== undefined && !(outcome.ok && outcome.attached && outcome.runId === leg.runId))
      this.#world.violation(`J1: ${leg.otid} became ${leg.runId}, and sent again it was answered with ${JSON.stringify(outcome)}`);
  }

  async #cancel(note: Note, leg: Leg): Promise<void> {
    await this.#world.sleep(this.#random.fraction() * this.#random.pick([20, 500, 5_000]));
    leg.isCancelAsked = true;
    await this.#ask(note, `cancel ${leg.runId}`, async (agents, incarnation): Promise<CancelOutcome> => {
      const outcome = await agents.conversations.cancel(note.address, [leg.runId!]);
      // Counted while the answer leaves: nothing is added to the run from now on.
      if (outcome.ok && incarnation.alive) leg.cancelledAt = { messages: await countMessages(this.#world, note.address, leg.runId!) };
      return outcome;
    });
  }

  async #follow(note: Note, leg: Leg): Promise<void> {
    while (!leg.isFinished) {
      leg.connections++;
      let left = this.#random.chance(0.3) ? this.#random.between(1, 12) : Infinity;
      const end = await openStream<readonly RunEvent[]>(this.#world, this.#process, {
        until: this.#deadline,
        details: `follow ${leg.runId} after ${leg.events.at(-1)?.seq ?? 0}`,
        random: this.#world.random.stream(`stream/${leg.otid}/${leg.connections}`),
        open: async (incarnation, signal) => {
          const agents = await this.#cluster.agentsOf(incarnation);
          return await agents.conversations.follow(project, leg.runId!, leg.events.at(-1)?.seq ?? 0, signal);
        },
        onLeaving: async (events) => await this.#checkShown(leg, events),
        onArrived: (events) => {
          for (const event of events) {
            // A client may go away between any two events.
            if (left-- <= 0) return false;
            this.#arrive(leg, event);
          }
          return true;
        },
      });
      if (leg.isFinished) return;
      if (end.kind === "over") this.#world.violation(`J6: the stream of ${leg.runId} ended without its last event`);
      if (end.kind === "error" && !passingErrors.includes(end.error.name))
        this.#world.violation(`J6: following ${leg.runId} failed: ${end.error.stack}`);
      if (this.#isOverdue) return void this.#never(note, leg, `never came to its end: ${leg.runId}`);
      await this.#world.sleep(this.#random.fraction() * 200);
      if (end.kind !== "over" && this.#random.chance(0.5)) this.#process = this.#random.pick(this.#cluster.processes);
    }
  }

  #arrive(leg: Leg, event: RunEvent): void {
    const before = leg.events.at(-1);
    if (before !== undefined && event.seq <= before.seq)
      this.#world.violation(`J6: event ${event.seq} of ${leg.runId} came after ${before.seq}`);
    if (before?.last === true) this.#world.violation(`J6: event ${event.seq} of ${leg.runId} came after the last one`);
    leg.events.push(event);
    leg.isFinished ||= event.last === true;
  }

  /** The next request of the task, where its run has stopped for one. */
  #answer(note: Note, leg: Leg): ApprovalMessage | undefined {
    const stop = leg.events.find(({ message }) => message.message_type === "stop_reason")?.message["stop_reason"];
    if (stop !== "requires_approval") return undefined;
    const asked = leg.events.filter(({ message }) => message.message_type === "approval_request_message");
    const calls = asked.flatMap(({ message }) => message["tool_calls"] as { readonly tool_call_id: string; readonly name: string }[]);
    if (calls.length === 0) this.#world.violation(`J6: ${leg.runId} waits, and its stream did not say for what`);
    const decisions = calls.map(({ tool_call_id, name }): ApprovalDecision | ToolReturn => {
      if (name === clientTool) return { tool_call_id, status: "success", tool_return: `looked up ${tool_call_id}` };
      return { tool_call_id, approve: this.#random.chance(0.7) };
    });
    return { type: "approval", decisions, requestId: String(asked.at(-1)!.message.id), otid: `${note.task.id}/${note.legs.length}` };
  }

  /** What a person sends who is late, forgets it, or has others change the tool and its policy meanwhile (J10). */
  async #afterAWhile(note: Note, leg: Leg, answer: ApprovalMessage): Promise<readonly ApprovalMessage[] | undefined> {
    const { approvals } = this.#cluster;
    const random = this.#random;
    const calls = (approvals.asked.get(answer.requestId!)?.calls ?? []).filter(({ hash }) => hash !== undefined).map(({ call }) => call);
    if (calls.length === 0) return [answer];
    if (approvals.mayExpire && random.chance(0.4)) return undefined;
    if (random.chance(0.4)) await this.#world.sleep(random.pick([500, 3_000, 6_000]));
    if (random.chance(0.3)) {
      const others = [...approvals.asked.keys()].filter((id) => id !== answer.requestId);
      const requestId = others.length === 0 ? "message-of-nobody" : random.pick(others);
      await this.#mustRefuse(note, leg, { ...answer, requestId });
    }
    if (random.chance(0.2)) await approvals.changeTool();
    if (random.chance(0.25)) await approvals.deny(note.address.agentId, calls);
    return [answer];
  }

  /** An approval that was given before, or is for another request than the one that waits. */
  async #mustRefuse(note: Note, leg: Leg, answer: ApprovalMessage): Promise<void> {
    const again = { ...leg, messages: [{ ...answer, otid: `${answer.otid}/again` }] };
    const outcome = await this.#ask(note, `answer again ${leg.otid}`, (agents) =>
      agents.conversations.send(note.address, requestOf(again)),
    );
    if (outcome?.ok === true) this.#world.violation(`J10: ${JSON.stringify(answer)} was taken again, or for another request`);
  }

  /** Calls a process and gives its answer; `undefined`: there is none, and the call may be made again. */
  async #ask<T>(note: Note, details: string, work: (agents: Agents, incarnation: Incarnation) => Promise<T>): Promise<T | undefined> {
    const outcome = await this.#world.call(this.#process, `${keyOf(note.address)} ${details}`, async (incarnation) =>
      work(await this.#cluster.agentsOf(incarnation), incarnation),
    );
    if (outcome.kind === "reply") return outcome.value;
    if (outcome.kind === "error") {
      const { error } = outcome;
      this.#world.countProbe(`client.${error.name}`);
      if (!passingErrors.includes(error.name)) this.#world.violation(`${details} was answered with ${error.stack ?? error.message}`);
    }
    if (outcome.kind === "lost" || this.#random.chance(0.5)) this.#process = this.#random.pick(this.#cluster.processes);
    await this.#world.sleep(this.#random.fraction() * 500);
    return undefined;
  }

  #never(note: Note, leg: Leg, what: string): false {
    this.#world.violation(`J9: ${leg.otid} (${note.task.plan}) ${what}`);
    return false;
  }

  /** The acknowledgement is about to leave: the request has to be in the store (J1). */
  async #checkAccepted(incarnation: Incarnation, note: Note, leg: Leg, runId: string): Promise<void> {
    const run = await this.#cluster.stored(runs.key(project, runId));
    if (incarnation.alive && run === undefined)
      this.#world.violation(`J1: client ${this.#name} was told of ${runId} for ${leg.otid} (${note.task.plan}), which is not in the store`);
  }

  /** Events of a background run are about to leave: they have to be in the store (J6). */
  async #checkShown(leg: Leg, events: readonly RunEvent[]): Promise<void> {
    if (!leg.background) return;
    const [answer] = await this.#world.disk.read([
      {
        begin: encodeTuple([project, "event", leg.runId!, events[0]!.seq]),
        end: tupleRange([project, "event", leg.runId!]).end,
        limit: 1_000,
      },
    ]);
    const stored = new Set(answer!.flatMap((entry) => decodeJson<RunEvent[]>(entry.value)).map((event) => event.seq));
    const missing = events.find((event) => !stored.has(event.seq));
    if (missing !== undefined) this.#world.violation(`J6: event ${missing.seq} of ${leg.runId} was shown before it was durable`);
  }
}

/** The request that an answer is for. */
function requestIdOf({ messages: [answer] }: Leg): string {
  return answer?.type === "approval" ? answer.requestId! : "";
}

function approvesCall({ messages: [answer] }: Leg): boolean {
  return answer?.type === "approval" && answer.decisions.some((decision) => "approve" in decision && decision.approve);
}

function requestOf(leg: Pick<Leg, "messages" | "stepsMax" | "background" | "streamTokens">): SendRequest {
  return {
    messages: leg.messages,
    stepsMax: leg.stepsMax,
    background: leg.background,
    streamTokens: leg.streamTokens,
    clientTools: [
      {
        name: clientTool,
        description: "Looks something up at the client",
        parameters: { type: "object", properties: { amount: { type: "integer" } } },
      },
    ],
    clientSkills: [],
    overrideModel: null,
    overrideSystem: null,
    includeCompactionMessages: false,
    requestConfig: {
      use_assistant_message: true,
      assistant_message_tool_name: "send_message",
      assistant_message_tool_kwarg: "message",
      include_return_message_types: null,
    },
    callbackUrl: null,
  };
}

/** Messages of a run that are in the store. */
async function countMessages(world: World, address: ConversationAddress, runId: string): Promise<number> {
  const [answer] = await world.disk.read([{ ...tupleRange([project, "message", keyOf(address)]), limit: 10_000 }]);
  return answer!.filter((entry) => decodeJson<{ run_id?: string }>(entry.value).run_id === runId).length;
}
