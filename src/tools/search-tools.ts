/** The tools with which an agent stores and finds what is not in its context, under the names and arguments of Letta V1. */
import { getAgentLink, type AgentLink } from "../memory/agent-link.ts";
import { defaultArchive } from "../memory/archive.ts";
import { searchMessages, type SearchableRole } from "../memory/conversation-search.ts";
import { characterCount } from "../memory/memory.ts";
import { localIsoTime, parseTime, timeAgo } from "../memory/local-time.ts";
import { checkPassage, insertPassages, searchPassages } from "../memory/passage.ts";
import { optional, optionalInteger, optionalText, optionalTexts, required, stateTool, textArgument, ToolError } from "./state-tool.ts";
import type { StateTool, StateToolContext, ToolInput } from "./tool.ts";

const resultsDefault = 5;
const passagesDefault = 10;
const resultsMax = 100;
/** Below the limit of a tool's result, so that a search never fails because it found much. */
const resultCharactersMax = 40_000;
/** UTF-16 units of a passage that a result shows; six times as many, where JSON escapes each, are still within the limit. */
const passageExcerptMax = 8_000;
const roles: readonly SearchableRole[] = ["assistant", "user", "tool"];

export const sendMessage: StateTool = stateTool(
  {
    name: "send_message",
    description: "Sends a message to the user. This is the only way in which they see what you say.",
    parameters: { message: required({ type: "string", description: "The text of the message. Any Unicode, emoji too." }) },
  },
  async (input) => {
    textArgument(input, "message");
    // The message is the call itself: whoever shows a conversation reads it from there.
    return "Sent message successfully.";
  },
);

export const conversationSearch: StateTool = stateTool(
  {
    name: "conversation_search",
    description:
      "Searches everything that was said with you before, in all conversations, by the words in it. Without a query it gives the latest messages that pass the other filters.",
    parameters: {
      query: optional({ type: "string", description: "Words to look for." }),
      roles: optional({
        type: "array",
        items: { type: "string", enum: roles },
        description: "Whose messages to look at. Defaults to those of the user and of the assistant.",
      }),
      limit: optional({ type: "integer", description: `How many results at most, up to ${resultsMax}. Defaults to ${resultsDefault}.` }),
      start_date: optional({
        type: "string",
        description: "Only messages from then on: YYYY-MM-DD, from the start of that day, or YYYY-MM-DDTHH:MM.",
      }),
      end_date: optional({
        type: "string",
        description: "Only messages until then: YYYY-MM-DD, with the whole of that day, or YYYY-MM-DDTHH:MM.",
      }),
    },
  },
  async (input, context) => {
    const agent = await agentOf(context);
    const found = await searchMessages(context.store, context.project, context.agentId, {
      query: optionalText(input, "query"),
      roles: rolesArgument(input) ?? ["assistant", "user"],
      limit: optionalInteger(input, "limit", { least: 1, most: resultsMax }) ?? resultsDefault,
      from: timeArgument(input, "start_date", agent.timezone, false),
      to: timeArgument(input, "end_date", agent.timezone, true),
    });
    const now = context.environment.clock.now();
    return showResults(
      found.map((message) => ({
        timestamp: localIsoTime(message.time, agent.timezone),
        time_ago: timeAgo(now - message.time),
        role: message.role,
        content: message.isExcerpt ? `${message.text} [the message goes on]` : message.text,
      })),
    );
  },
);

export const archivalMemoryInsert: StateTool = stateTool(
  {
    name: "archival_memory_insert",
    description:
      "Stores a text in your archival memory, where it stays until it is searched for. Good for facts, notes and summaries that should last but need not be in view; write each so that it is understood by itself.",
    parameters: {
      content: required({ type: "string", description: "The text to store." }),
      tags: optional({
        type: "array",
        items: { type: "string" },
        description: "Words by which to find it again, such as a project or a topic.",
      }),
    },
  },
  async (input, context) => {
    const { transaction, environment, project } = context;
    const [text, tags] = [textArgument(input, "content"), optionalTexts(input, "tags")];
    checkPassage({ text, tags });
    const archive = await defaultArchive(transaction, environment, project, await agentOf(context));
    const [passage] = insertPassages(transaction, environment, project, archive.id, [{ text, tags }]);
    return `Successfully inserted archival memory (ID: ${passage!.id})`;
  },
);

export const archivalMemorySearch: StateTool = stateTool(
  {
    name: "archival_memory_search",
    description: "Searches your archival memory by the words in the texts, the best match first.",
    parameters: {
      query: required({ type: "string", description: "Words to look for. An empty query gives the latest texts." }),
      tags: optional({ type: "array", items: { type: "string" }, description: "Only texts with these tags." }),
      tag_match_mode: optional({
        type: "string",
        enum: ["any", "all"],
        description: "Whether one of the tags is enough (any, the default) or all are needed.",
      }),
      top_k: optional({ type: "integer", description: `How many results at most, up to ${resultsMax}. Defaults to ${passagesDefault}.` }),
      start_datetime: optional({ type: "string", description: "Only texts stored from then on: YYYY-MM-DD or YYYY-MM-DDTHH:MM." }),
      end_datetime: optional({ type: "string", description: "Only texts stored until then: YYYY-MM-DD or YYYY-MM-DDTHH:MM." }),
    },
  },
  async (input, context) => {
    const agent = await agentOf(context);
    const search = {
      query: textArgument(input, "query"),
      tags: optionalTexts(input, "tags"),
      tag_match_mode: optionalText(input, "tag_match_mode") === "all" ? ("all" as const) : ("any" as const),
      limit: optionalInteger(input, "top_k", { least: 1, most: resultsMax }) ?? passagesDefault,
      from: timeArgument(input, "start_datetime", agent.timezone, false),
      to: timeArgument(input, "end_datetime", agent.timezone, true),
    };
    const [archiveId] = agent.archive_ids;
    const found = archiveId === undefined ? [] : await searchPassages(context.store, context.project, archiveId, search);
    return showResults(
      found.map(({ passage }) => ({
        id: passage.id,
        timestamp: localIsoTime(Date.parse(passage.created_at), agent.timezone),
        content: excerpt(passage.text),
        tags: passage.tags,
      })),
    );
  },
);

async function agentOf(context: StateToolContext): Promise<AgentLink> {
  const agent = await getAgentLink(context.transaction, context.project, context.agentId);
  if (agent === undefined) throw new ToolError(`The agent ${context.agentId} does not exist any more`);
  return agent;
}

function rolesArgument(input: ToolInput): SearchableRole[] | undefined {
  return optionalTexts(input, "roles")?.map((name) => {
    const role = roles.find((each) => each === name);
    if (role === undefined) throw new ToolError(`Unknown role \`${name}\`: use ${roles.join(", ")}`);
    return role;
  });
}

function timeArgument(input: ToolInput, name: string, timezone: string, endOfDay: boolean): number | undefined {
  const text = optionalText(input, name);
  return text === undefined || text === "" ? undefined : parseTime(name, text, timezone, endOfDay);
}

function excerpt(text: string): string {
  if (text.length <= passageExcerptMax) return text;
  return `${text.slice(0, passageExcerptMax).toWellFormed()} [the text goes on: it has ${characterCount(text)} characters]`;
}

/** As many of the results as fit, and always the first one; it says when there are more. */
function showResults(results: readonly object[]): string {
  if (results.length === 0) return JSON.stringify({ message: "No results found.", results: [] });
  let shown = 1;
  let length = JSON.stringify(results[0]).length;
  for (; shown < results.length; shown++) {
    length += JSON.stringify(results[shown]).length;
    if (length > resultCharactersMax) break;
  }
  const message =
    shown === results.length ? `Showing ${shown} results:` : `Showing ${shown} of ${results.length} results, as more would be too long:`;
  return JSON.stringify({ message, results: results.slice(0, shown) });
}
