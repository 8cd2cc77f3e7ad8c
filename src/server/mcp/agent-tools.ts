/** The tools with which an MCP host finds agents, talks to them and looks into their memory. */
import { z } from "@hono/zod-openapi";
import { readBlocks } from "../../memory/block.ts";
import { searchPassages } from "../../memory/passage.ts";
import { type AgentTool, agentTool, cut, findAgent, ToolRefusal } from "./agent-tool.ts";
import { agentInput } from "./inputs.ts";
import { conversationPage } from "./conversation-page.ts";
import { sendMessage } from "./send-message.ts";
import { show } from "../http-error.ts";

const resultCharactersMax = 100_000;
const agentsListedMax = 100;
const foundTextCharactersMax = 2_000;
const nameCharactersMax = 200;
const memoryCharactersMax = 20_000;

const reads = { readOnlyHint: true, openWorldHint: false } as const;

const listAgents = agentTool({
  name: "list_agents",
  title: "List agents",
  description: "Lists the agents of this Kelpie, the newest first, with their ids, names, descriptions and models.",
  input: z.object({
    after: z.string().max(500).optional().describe("Go on after this agent: what the last list gave as `next`"),
    limit: z.int().min(1).max(agentsListedMax).default(20),
  }),
  output: z.object({
    agents: z.array(
      z.object({
        id: z.string(),
        name: z.string(),
        description: z.string().exactOptional(),
        model: z.string(),
        tags: z.array(z.string()).readonly().exactOptional(),
      }),
    ),
    next: z.string().exactOptional().describe("There are more agents: give this as `after`"),
  }),
  annotations: reads,
  async run({ agents }, { after, limit }, { project }) {
    const page = { limit: limit + 1, reverse: true, ...(after === undefined ? {} : { after }) };
    const found = await agents.page(project, { index: "created" }, page);
    if (found === undefined) throw new ToolRefusal(`after: there is no agent ${show(after)}: give what the last list named as \`next\``);
    const shown = found.slice(0, limit).map(({ id, name, description, model, tags }) => ({
      id,
      name,
      ...(description === null ? {} : { description: description.slice(0, foundTextCharactersMax).toWellFormed() }),
      model,
      ...(tags.length === 0 ? {} : { tags }),
    }));
    return { agents: shown, ...(found.length > limit ? { next: shown.at(-1)!.id } : {}) };
  },
});

const createAgent = agentTool({
  name: "create_agent",
  title: "Create an agent",
  description:
    "Creates an agent that keeps its memory for ever, and gives its id. Look with list_agents first: an agent that exists remembers what it was told.",
  input: z.object({
    name: z.string().min(1).max(nameCharactersMax),
    persona: z.string().max(memoryCharactersMax).default("").describe("Who the agent is and how it behaves: its block `persona`"),
    human: z.string().max(memoryCharactersMax).default("").describe("What it knows of the person it talks to: its block `human`"),
    description: z.string().max(foundTextCharactersMax).optional().describe("What it is for, as list_agents shows it"),
    model: z.string().max(nameCharactersMax).optional().describe("A handle such as openai/gpt-5-mini; the server's own by default"),
  }),
  output: z.object({ id: z.string(), name: z.string(), model: z.string() }),
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
  async run({ agents }, { name, persona, human, description, model }, { project }) {
    const memory_blocks = [
      { label: "persona", value: persona },
      { label: "human", value: human },
    ];
    const agent = await agents.create(project, { name, description, model, memory_blocks });
    return { id: agent.id, name: agent.name, model: agent.model };
  },
});

const stopAgent = agentTool({
  name: "stop_agent",
  title: "Stop an agent",
  description: "Stops what an agent is working on. What it has done is done; its memory and its conversation stay.",
  input: z.object({ agent: agentInput }),
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false },
  async run(services, { agent: idOrName }, { project }) {
    const agent = await findAgent(services, project, idOrName);
    const outcome = await services.conversations.cancel({ project, agentId: agent.id, conversationId: "default" }, null);
    return outcome.ok ? `${agent.name} was stopped` : `${agent.name} was not at work`;
  },
});

const readMemory = agentTool({
  name: "read_memory",
  title: "Read an agent's memory",
  description: "Reads what an agent always has before it: its memory blocks, or the one with a label.",
  input: z.object({ agent: agentInput, label: z.string().max(500).optional().describe("Such as persona or human; all blocks by default") }),
  annotations: reads,
  async run(services, { agent: idOrName, label }, { project }) {
    const agent = await findAgent(services, project, idOrName);
    const blocks = await readBlocks(services.store, project, agent.block_ids);
    const wanted = label === undefined ? blocks : blocks.filter((block) => block.label === label);
    if (label !== undefined && wanted.length === 0)
      throw new ToolRefusal(`${agent.name} has no block ${show(label)}. It has: ${blocks.map((block) => block.label).join(", ")}`);
    if (wanted.length === 0) return `${agent.name} has no memory blocks`;
    const texts = wanted.map(
      (block) =>
        `# ${block.label}\n${block.description === null ? "" : `(${block.description})\n`}\n${block.value === "" ? "(empty)" : block.value}`,
    );
    return cut(texts.join("\n\n"), resultCharactersMax, "name the block by its label");
  },
});

const searchMemory = agentTool({
  name: "search_memory",
  title: "Search an agent's memory",
  description:
    "Searches by words in what an agent has stored in its archive and in what was said in its conversations, the best matches first.",
  input: z.object({ agent: agentInput, query: z.string().min(1).max(10_000), limit: z.int().min(1).max(50).default(10) }),
  output: z.object({
    archive: z.array(z.object({ at: z.string(), text: z.string() })),
    conversation: z.array(z.object({ id: z.string(), at: z.string(), from: z.string(), text: z.string() })),
  }),
  annotations: reads,
  async run(services, { agent: idOrName, query, limit }, { project }) {
    const agent = await findAgent(services, project, idOrName);
    const [archiveId] = agent.archive_ids;
    const [passages, messages] = await Promise.all([
      archiveId === undefined ? [] : searchPassages(services.store, project, archiveId, { query, limit }),
      services.conversations.search(project, agent.id, { query, limit, roles: ["user", "assistant"] }),
    ]);
    const shorten = (text: string): string => cut(text, foundTextCharactersMax, "search for words of it, or read the conversation");
    return {
      archive: passages.map(({ passage }) => ({ at: passage.created_at, text: shorten(passage.text) })),
      conversation: messages.map(({ messageId, role, time, text }) => ({
        id: messageId,
        at: new Date(time).toISOString(),
        from: role,
        text: shorten(text),
      })),
    };
  },
});

const listMessages = agentTool({
  name: "list_messages",
  title: "Read an agent's conversation",
  description:
    "Reads the newest messages of an agent's conversation, the oldest first: what it was told, what it answered, and the tools it called.",
  input: z.object({
    agent: agentInput,
    before: z.string().max(500).optional().describe("Only messages before this one: the id that `older` named"),
    limit: z.int().min(1).max(100).default(20),
  }),
  output: z.object({
    messages: z.array(z.object({ id: z.string(), at: z.string(), kind: z.string(), text: z.string() })).readonly(),
    older: z.string().exactOptional().describe("There are older messages: give this as `before`"),
  }),
  annotations: reads,
  async run(services, { agent: idOrName, before, limit }, { project }) {
    const agent = await findAgent(services, project, idOrName);
    const page = await conversationPage(services, project, agent.id, { before, limit });
    if (page === undefined)
      throw new ToolRefusal(`before: there is no message ${show(before)}: leave it out, or give what \`older\` named`);
    return page;
  },
});

export const agentTools: ReadonlyMap<string, AgentTool> = new Map(
  [listAgents, createAgent, sendMessage, stopAgent, readMemory, searchMemory, listMessages].map((tool) => [tool.name, tool]),
);
