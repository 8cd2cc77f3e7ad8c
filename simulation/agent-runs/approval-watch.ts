/** Approvals as the store has them, held against what leaves the processes (J10). */
import { approvalHash, toolIdentity } from "../../src/agents/approval.ts";
import type { ToolCall } from "../../src/agents/chat-message.ts";
import { type ContextState, conversationActorType, type PendingApproval, type RunProgress } from "../../src/agents/conversation.ts";
import type { EffectRecord } from "../../src/agents/effect-ledger.ts";
import { decodeJson } from "../../src/base/json.ts";
import { type WaitingApproval, waitingApproval } from "../../src/agents/waiting-approval.ts";
import { decodeTuple, encodeTuple, tupleRange } from "../../src/base/tuple.ts";
import type { Environment } from "../../src/environment/environment.ts";
import type { Batch } from "../../src/storage/store.ts";
import { transact } from "../../src/storage/transaction.ts";
import { readPolicy, replacePolicy } from "../../src/tools/policy-record.ts";
import { noPolicy } from "../../src/tools/tool-policy.ts";
import { findToolByName, replaceTool } from "../../src/tools/tool-record.ts";
import { project } from "../actor-cluster.ts";
import type { World } from "../world.ts";
import { approvedTool } from "./task.ts";

/** Approvals that can be given for so short a time come too late now and then. */
const shortSeconds = 2;
const longSeconds = 86_400;

export class ApprovalWatch {
  /** How long an approval may be given. */
  readonly seconds: number;
  /** Every request that waited, by its id. */
  readonly asked: Map<string, PendingApproval> = new Map();
  readonly #world: World;
  readonly #environment: Environment;
  /** What waits, by conversation. */
  readonly #waiting = new Map<string, PendingApproval>();
  /** Under which effect id each approved call has left, by the hash that it was approved for. */
  readonly #used = new Map<string, string>();
  readonly #denied = new Set<number>();
  #versions = 0;

  constructor(world: World, environment: Environment) {
    this.#world = world;
    this.#environment = environment;
    this.seconds = world.random.stream("approvals").chance(0.5) ? shortSeconds : longSeconds;
    world.onApplied((batch, outcome) => {
      if (outcome.ok) this.#see(batch);
    });
  }

  /** Whether requests may be closed before they are answered. */
  get mayExpire(): boolean {
    return this.seconds === shortSeconds;
  }

  /** What is asked for, denied by its arguments, and limited. */
  async setPolicy(): Promise<void> {
    const draws = this.#world.random.stream("policy");
    await transact(this.#world.disk, this.#environment, (transaction) =>
      replacePolicy(transaction, project, "project", {
        version: undefined,
        rules: [
          { tool: approvedTool, action: "ask" },
          { tool: "outside_once", arguments: { "/amount": "*3" }, action: "deny" },
        ],
        limits: [
          ...(draws.chance(0.4) ? [{ tool: "outside_readOnly", calls: 2, seconds: 1 }] : []),
          ...(draws.chance(0.4) ? [{ tool: "outside_idempotent", calls: 1, seconds: 1, concurrency: 1 }] : []),
        ],
        approval_seconds: this.seconds,
      }),
    );
  }

  /** From now on the tool that is approved is another one, and was never this one before. */
  async changeTool(): Promise<void> {
    await transact(this.#world.disk, this.#environment, async (transaction) => {
      const before = (await findToolByName(transaction, project, approvedTool))!;
      const json_schema = { ...before.json_schema, description: `Version ${++this.#versions}` };
      await replaceTool(transaction, project, before, { ...before, json_schema });
    });
  }

  /** From now on the agent may not make these calls, whatever was approved. */
  async deny(agentId: string, calls: readonly ToolCall[]): Promise<void> {
    const amounts = calls.map(amountOf);
    const { rules } = await readPolicy(this.#world.disk, project, { agentId });
    const denials = amounts.map((amount) => ({ tool: approvedTool, arguments: { "/amount": `${amount}` }, action: "deny" as const }));
    await transact(this.#world.disk, this.#environment, (transaction) =>
      replacePolicy(transaction, project, { agentId }, { ...noPolicy, rules: [...rules, ...denials], version: undefined }),
    );
    for (const amount of amounts) this.#denied.add(amount);
  }

  /** Whether an approval of the request is for what the tool is now. */
  async isCurrent(requestId: string): Promise<boolean> {
    const tool = await transact(this.#world.disk, this.#environment, async (transaction) =>
      findToolByName(transaction, project, approvedTool),
    );
    const calls = this.asked.get(requestId)?.calls ?? [];
    return calls.every(({ call, hash }) => hash === undefined || hash === approvalHash(toolIdentity(tool!), call));
  }

  /** A call that has to be approved is about to leave, with this row of the ledger. */
  checkLeaving(amount: number, effectId: string, record: EffectRecord | undefined): void {
    const hash = record?.approval?.hash;
    const wrong = (why: string): void => this.#world.violation(`J10: ${approvedTool} of ${amount} left as ${effectId}: ${why}`);
    if (this.#denied.has(amount)) wrong("its policy had denied it before its approval was sent");
    const approved = [...this.asked.values()].flatMap(({ calls }) => calls).find((each) => hash !== undefined && each.hash === hash);
    if (approved === undefined) return wrong("nobody was asked for what it has an approval of");
    if (amountOf(approved.call) !== amount) wrong(`its approval is for ${approved.call.arguments}`);
    const before = this.#used.get(hash!) ?? effectId;
    if (before !== effectId) wrong(`its approval was used for ${before}`);
    this.#used.set(hash!, effectId);
  }

  #see(batch: Batch): void {
    let progress: RunProgress | undefined;
    let changed: { readonly key: string; readonly context: ContextState } | undefined;
    for (const write of batch.writes) {
      if (write.kind !== "set") continue;
      const [inProject, kind, type, key, name, piece] = decodeTuple(write.key);
      if (inProject !== project || kind !== "state" || type !== conversationActorType || piece !== undefined) continue;
      if (name === "progress") progress = decodeJson<RunProgress>(write.value);
      if (name === "context") changed = { key: String(key), context: decodeJson<ContextState>(write.value) };
    }
    if (changed === undefined) return;
    const { key, context } = changed;
    void this.#checkRow(key, context);
    const before = this.#waiting.get(key);
    if (context.pending !== null) {
      this.asked.set(context.pending.messageId, context.pending);
      this.#waiting.set(key, context.pending);
      return;
    }
    this.#waiting.delete(key);
    for (const { approval } of progress?.calls ?? []) if (approval !== undefined) this.#checkTaken(before, approval);
  }

  /** Lists find a conversation just as long as it waits for a person. */
  async #checkRow(key: string, { agentId, conversationId }: ContextState): Promise<void> {
    const contextKey = encodeTuple([project, "state", conversationActorType, key, "context"]);
    const [contexts, rows] = await this.#world.disk.read([{ key: contextKey }, { ...tupleRange([project, "approval"]), limit: 1_000 }]);
    const pending = contexts![0] && decodeJson<ContextState>(contexts![0].value).pending;
    const expected = waitingApproval({ project, agentId, conversationId }, pending);
    const found = rows!
      .map(({ value }) => decodeJson<WaitingApproval>(value))
      .filter((row) => row.agent_id === agentId && row.conversation_id === conversationId);
    if (JSON.stringify(found) !== JSON.stringify(expected === undefined ? [] : [expected]))
      this.#world.violation(
        `J10: ${key} waits for ${pending?.messageId}, and lists show ${found.map(({ id }) => id).join(", ") || "nothing"}`,
      );
  }

  /** A batch has ended the wait with an approval. */
  #checkTaken(request: PendingApproval | undefined, approval: NonNullable<EffectRecord["approval"]>): void {
    if (request === undefined) return;
    if (!request.calls.some(({ hash }) => hash === approval.hash))
      this.#world.violation(`J10: an approval of ${approval.hash} was taken where ${request.messageId} waited`);
    const late = Date.parse(approval.approved_at) - (request.askedAt! + this.seconds * 1_000);
    if (late >= 0) this.#world.violation(`J10: an approval for ${request.messageId} was taken ${late} ms after its time`);
  }
}

function amountOf(call: ToolCall): number {
  return Number((JSON.parse(call.arguments) as { readonly amount: unknown }).amount);
}
