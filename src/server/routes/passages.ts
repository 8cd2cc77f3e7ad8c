import { z } from "@hono/zod-openapi";
import { agents } from "../../agents/agent.ts";
import { readArchives } from "../../memory/archive.ts";
import { searchPassages } from "../../memory/passage.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, unprocessable } from "../http-error.ts";
import { passageSearchSchema } from "../schemas/archive.ts";
import { idOf, millisecondsOf, optional, pageEntriesMax, time } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const searchBody = z
  .object({
    query: optional(z.string()),
    agent_id: optional(idOf("agent")),
    archive_id: optional(idOf("archive")),
    tags: optional(z.array(z.string())),
    tag_match_mode: optional(z.enum(["any", "all"])),
    limit: optional(z.int().min(1).max(pageEntriesMax)),
    start_date: optional(time),
    end_date: optional(time),
  })
  .openapi("PassageSearchRequest");

const limitDefault = 50;

export function passageRoutes({ store }: Services): Endpoint[] {
  return [
    endpoint(
      {
        method: "post",
        path: "/v1/passages/search",
        summary: "Searches the passages of an archive or of an agent",
        tag: "passages",
        body: searchBody,
        response: passageSearchSchema,
      },
      async ({ body, project }) => {
        const archiveId = body.archive_id ?? (await archiveOfAgent(project, body.agent_id ?? undefined));
        if (archiveId === undefined) return [];
        const [archive] = await readArchives(store, project, [archiveId]);
        if (archive === undefined) throw notFound("archive", archiveId);
        const found = await searchPassages(store, project, archiveId, {
          query: body.query ?? undefined,
          tags: body.tags ?? undefined,
          tag_match_mode: body.tag_match_mode ?? undefined,
          limit: body.limit ?? limitDefault,
          from: body.start_date == null ? undefined : millisecondsOf(body.start_date),
          to: body.end_date == null ? undefined : millisecondsOf(body.end_date),
        });
        return found.map(({ passage, score }) => ({ passage, score, metadata: {} }));
      },
    ),
  ];

  async function archiveOfAgent(project: string, agentId: string | undefined): Promise<string | undefined> {
    if (agentId === undefined)
      throw unprocessable("body.archive_id: required, expected the archive or, in agent_id, the agent whose passages to search");
    const [agent] = await agents.read(store, project, [agentId]);
    if (agent === undefined) throw notFound("agent", agentId);
    return agent.archive_ids[0];
  }
}
