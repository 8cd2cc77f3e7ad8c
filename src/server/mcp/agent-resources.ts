/** Agents, their memory blocks and their conversations as MCP resources, below `kelpie://agents/`. */
import {
  type ListResourcesResult,
  type ListResourceTemplatesResult,
  ProtocolError,
  ProtocolErrorCode,
  type ReadResourceResult,
  ResourceNotFoundError,
} from "@modelcontextprotocol/server";
import { agents as agentRows } from "../../agents/agent.ts";
import { readBlocks } from "../../memory/block.ts";
import { show } from "../http-error.ts";
import type { Services } from "../services.ts";
import { conversationPage } from "./conversation-page.ts";

/** The official client follows 64 pages and no more. */
const agentsPerPage = 500;
const messagesPerPage = 50;
const descriptionCharactersMax = 300;
const root = "kelpie://agents/";
const jsonType = "application/json";

export const resourceTemplates: ListResourceTemplatesResult = {
  resourceTemplates: [
    {
      name: "agent",
      title: "An agent",
      uriTemplate: `${root}{agent_id}`,
      mimeType: jsonType,
      description: "What an agent is, and the addresses of its blocks and its conversation",
    },
    {
      name: "block",
      title: "A memory block",
      uriTemplate: `${root}{agent_id}/blocks/{label}`,
      mimeType: "text/plain",
      description: "The text of one of an agent's memory blocks, such as persona or human",
    },
    {
      name: "conversation",
      title: "A conversation",
      uriTemplate: `${root}{agent_id}/messages{?before}`,
      mimeType: jsonType,
      description: `The newest ${messagesPerPage} messages of an agent's conversation, or those before a message`,
    },
  ],
};

/** A page of the agents, the newest first. @throws {ProtocolError} for a cursor that is none of ours */
export async function listResources({ agents }: Services, project: string, cursor: string | undefined): Promise<ListResourcesResult> {
  const page = { limit: agentsPerPage + 1, reverse: true, ...(cursor === undefined ? {} : { after: cursor }) };
  const found = await agents.page(project, { index: "created" }, page);
  if (found === undefined)
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, `The cursor ${show(cursor)} is none that this server gave`);
  const resources = found.slice(0, agentsPerPage).map(({ id, name, description }) => ({
    uri: root + id,
    name,
    mimeType: jsonType,
    ...(description === null ? {} : { description: description.slice(0, descriptionCharactersMax).toWellFormed() }),
  }));
  return { resources, ...(found.length > agentsPerPage ? { nextCursor: found[agentsPerPage - 1]!.id } : {}) };
}

/** @throws {ResourceNotFoundError} */
export async function readResource(services: Services, project: string, uri: string): Promise<ReadResourceResult> {
  const [, id, kind, label, before] =
    /^kelpie:\/\/agents\/(agent-[0-9a-f-]{36})(?:\/(?:(blocks)\/([^/?#]+)|messages(?:\?before=([^&#]+))?))?$/.exec(uri) ?? [];
  const [agent] = id === undefined ? [] : await agentRows.read(services.store, project, [id]);
  if (agent === undefined) throw notFound(uri);
  const own = root + agent.id;
  const answer = (mimeType: string, text: string): ReadResourceResult => ({ contents: [{ uri, mimeType, text }] });
  if (kind === undefined && uri !== own) {
    const page = await conversationPage(services, project, agent.id, { before: before && decode(before), limit: messagesPerPage });
    if (page === undefined) throw notFound(uri);
    const { messages, older } = page;
    return answer(jsonType, JSON.stringify({ messages, ...(older === undefined ? {} : { older: `${own}/messages?before=${older}` }) }));
  }
  const blocks = await readBlocks(services.store, project, agent.block_ids);
  if (kind === "blocks") {
    const block = blocks.find((each) => each.label === decode(label!));
    if (block === undefined) throw notFound(uri);
    return answer("text/plain", block.value);
  }
  const { name, description, model, tags, created_at } = agent;
  return answer(
    jsonType,
    JSON.stringify({
      id: agent.id,
      name,
      description,
      model,
      tags,
      created_at,
      blocks: blocks.map((block) => `${own}/blocks/${encodeURIComponent(block.label)}`),
      conversation: `${own}/messages`,
    }),
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function notFound(uri: string): ResourceNotFoundError {
  return new ResourceNotFoundError(uri.slice(0, 500).toWellFormed());
}
