/**
 * The blocks of one agent inside a transaction, for tools that edit them.
 *
 * B1. Edits gather in memory and are checked there, all together: `save` writes all of them or throws before any write.
 * B2. Every block that was looked at is checked at commit, so an edit is made from the text that it replaces.
 */
import { type AgentLink, getAgentLink, setAgentLinks } from "../memory/agent-link.ts";
import { attachBlock, detachBlock } from "../memory/block-agents.ts";
import { type BlockRecord, checkBlock, checkCoreBytes, coreBytes, getBlocks, insertBlock, newBlock, updateBlock } from "../memory/block.ts";
import { blockLabelBytesMax, checkName, DuplicateBlockLabelError } from "../memory/memory.ts";
import { ToolError } from "./state-tool.ts";
import type { StateToolContext } from "./tool.ts";

const readOnlyText = "Error: This block is read-only and cannot be edited.";

export class CoreMemory {
  readonly #context: StateToolContext;
  readonly #agent: AgentLink;
  readonly #stored: ReadonlyMap<string, BlockRecord>;
  #drafts: readonly BlockRecord[];

  private constructor(context: StateToolContext, agent: AgentLink, blocks: readonly BlockRecord[]) {
    this.#context = context;
    this.#agent = agent;
    this.#stored = new Map(blocks.map((block) => [block.id, block]));
    this.#drafts = blocks;
  }

  static async load(context: StateToolContext): Promise<CoreMemory> {
    const agent = await getAgentLink(context.transaction, context.project, context.agentId);
    if (agent === undefined) throw new ToolError(`The agent ${context.agentId} does not exist any more`);
    return new CoreMemory(context, agent, await getBlocks(context.transaction, context.project, agent.block_ids));
  }

  has(label: string): boolean {
    return this.#drafts.some((block) => block.label === label);
  }

  /** Changes the value of a block to what `edit` makes of it. */
  edit(label: string, edit: (value: string) => string): void {
    const block = this.#editable(label);
    const value = edit(block.value);
    if (value !== block.value) this.#replace(block, { ...block, value });
  }

  describe(label: string, description: string): void {
    const block = this.#editable(label);
    this.#replace(block, { ...block, description });
  }

  rename(label: string, newLabel: string): void {
    const block = this.#editable(label);
    this.#refuseLabel(newLabel);
    this.#replace(block, { ...block, label: newLabel });
  }

  create(label: string, value: string, description: string | null): void {
    this.#refuseLabel(label);
    this.#drafts = [...this.#drafts, newBlock(this.#context.environment, { label, value, description })];
  }

  /** Takes the block from this agent. It stays in the store, and with the other agents that have it. */
  detach(label: string): void {
    const block = this.#editable(label);
    this.#drafts = this.#drafts.filter((each) => each !== block);
  }

  /** @throws {MemoryError} Something does not fit; nothing was written. */
  async save(): Promise<void> {
    const { transaction, environment, project } = this.#context;
    this.#check();
    for (const draft of this.#drafts) {
      const before = this.#stored.get(draft.id);
      if (draft === before) continue;
      if (before !== undefined) await updateBlock(transaction, environment, project, draft.id, draft);
      else {
        insertBlock(transaction, environment, project, draft);
        attachBlock(transaction, project, draft.id, this.#agent);
      }
    }
    const block_ids = this.#drafts.map((block) => block.id);
    const detached = [...this.#stored.keys()].filter((id) => !block_ids.includes(id));
    for (const id of detached) detachBlock(transaction, project, id, this.#agent);
    if (detached.length > 0 || block_ids.length > this.#stored.size) setAgentLinks(transaction, project, this.#agent, { block_ids });
  }

  #check(): void {
    // A block that was over its limit before may stay as it is; only what changes is checked.
    for (const draft of this.#drafts) if (draft !== this.#stored.get(draft.id)) checkBlock(draft);
    const { core_bytes_max } = this.#agent;
    // An agent that is over its limit already can still make its memory smaller.
    if (core_bytes_max !== null && coreBytes(this.#drafts) > coreBytes([...this.#stored.values()]))
      checkCoreBytes(this.#drafts, core_bytes_max);
  }

  #editable(label: string): BlockRecord {
    const block = this.#drafts.find((each) => each.label === label);
    if (block === undefined)
      throw new ToolError(
        `Block field ${label} does not exist (available sections = ${this.#drafts.map((each) => each.label).join(", ")})`,
      );
    if (block.read_only) throw new ToolError(readOnlyText);
    return block;
  }

  #refuseLabel(label: string): void {
    checkName("label", label, blockLabelBytesMax);
    if (this.has(label)) throw new DuplicateBlockLabelError(label);
  }

  #replace(block: BlockRecord, by: BlockRecord): void {
    this.#drafts = this.#drafts.map((each) => (each === block ? by : each));
  }
}
