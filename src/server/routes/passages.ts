import { z } from "@hono/zod-openapi";
import { listArchives, readArchives } from "../../memory/archive.ts";
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

/** A search that names neither an archive nor an agent looks into this many archives. */
const archivesSearchedMax = 200;

export function passageRoutes({ store, agents }: Services): Endpoint[] {
  async function archivesToSearch(project: string, body: z.output<typeof searchBody>): Promise<readonly string[]> {
    if (body.archive_id != null) {
      const [archive] = await readArchives(store, project, [body.archive_id]);
      if (archive === undefined) throw notFound("archive", body.archive_id);
      return [archive.id];
    }
    if (body.agent_id != null) return (await agents.get(project, body.agent_id)).archive_ids;
    const all = await listArchives(store, project, {}, { limit: archivesSearchedMax + 1 });
    if (all.length > archivesSearchedMax)
      throw unprocessable(`body.archive_id: required, as there are more than ${archivesSearchedMax} archives`);
    return all.map((archive) => archive.id);
  }

  return [
    endpoint(
      {
        method: "post",
        path: "/v1/passages/search",
        summary: "Searches the passages of an archive, of an agent, or of all archives",
        tag: "passages",
        body: searchBody,
        response: passageSearchSchema,
      },
      async ({ body, project }) => {
        const limit = body.limit ?? limitDefault;
        const search = {
          query: body.query ?? undefined,
          tags: body.tags ?? undefined,
          tag_match_mode: body.tag_match_mode ?? undefined,
          limit,
          from: body.start_date == null ? undefined : millisecondsOf(body.start_date),
          to: body.end_date == null ? undefined : millisecondsOf(body.end_date),
        };
        const archiveIds = await archivesToSearch(project, body);
        const found = (await Promise.all(archiveIds.map((id) => searchPassages(store, project, id, search)))).flat();
        return found
          .sort((left, right) => right.score - left.score)
          .slice(0, limit)
          .map(({ passage, score }) => ({ passage, score, metadata: {} }));
      },
    ),
  ];
}
