import { z } from "@hono/zod-openapi";
import {
  agentsOfArchive,
  createArchive,
  deleteArchive,
  getArchive,
  listArchives,
  readArchives,
  updateArchive,
} from "../../memory/archive.ts";
import { deletePassage, insertPassages } from "../../memory/passage.ts";
import { agents } from "../../agents/agent.ts";
import { transact } from "../../storage/transaction.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf } from "../paging.ts";
import { archiveSchema, passageSchema } from "../schemas/archive.ts";
import { idOf, jsonObject, nameText, optional, pageQuery } from "../schemas/common.ts";
import { createPassageSchema } from "../schemas/passage.ts";
import type { Services } from "../services.ts";

const params = z.object({ archive_id: idOf("archive") });
const passageParams = z.object({ archive_id: idOf("archive"), passage_id: idOf("passage") });

/** `embedding` and `embedding_config` are accepted for V1's clients: passages are found by their words. */
const createBody = z
  .object({ name: nameText, description: optional(z.string()), embedding: optional(z.string()), embedding_config: optional(jsonObject) })
  .openapi("ArchiveCreateRequest");
const updateBody = z.object({ name: optional(nameText), description: optional(z.string()) }).openapi("ArchiveUpdateRequest");
const batchBody = z.object({ passages: z.array(createPassageSchema) }).openapi("PassageBatchCreateRequest");
const listQuery = pageQuery("archive", { limit: 50, order: "desc" }).extend({
  name: z.string().optional(),
  agent_id: idOf("agent").optional(),
});

export function archiveRoutes({ store, environment }: Services): Endpoint[] {
  const tag = "archives";
  const memory = new PageMemory();
  return [
    endpoint(
      { method: "get", path: "/v1/archives", summary: "Lists archives", tag, query: listQuery, response: z.array(archiveSchema) },
      async ({ query, project }) => {
        if (query.agent_id === undefined)
          return memory.remember(await listArchives(store, project, { name: query.name }, pageOf(query, memory)));
        // An agent has one archive, so there is nothing after or before it.
        if (query.after !== undefined || query.before !== undefined) return [];
        const [agent] = await agents.read(store, project, [query.agent_id]);
        const found = await readArchives(store, project, agent?.archive_ids ?? []);
        return found.filter((archive) => query.name === undefined || archive.name === query.name);
      },
    ),
    endpoint(
      { method: "post", path: "/v1/archives", summary: "Creates an archive", tag, body: createBody, response: archiveSchema },
      async ({ body, project }) =>
        transact(store, environment, async (transaction) => createArchive(transaction, environment, project, body)),
    ),
    endpoint(
      { method: "get", path: "/v1/archives/{archive_id}", summary: "Reads an archive", tag, params, response: archiveSchema },
      async ({ params: { archive_id }, project }) => {
        const [archive] = await readArchives(store, project, [archive_id]);
        if (archive === undefined) throw notFound("archive", archive_id);
        return archive;
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/archives/{archive_id}",
        summary: "Changes an archive",
        tag,
        params,
        body: updateBody,
        response: archiveSchema,
      },
      async ({ params: { archive_id }, body, project }) =>
        transact(store, environment, async (transaction) => updateArchive(transaction, environment, project, archive_id, body)),
    ),
    endpoint(
      { method: "delete", path: "/v1/archives/{archive_id}", summary: "Deletes an archive and its passages", tag, params, status: 204 },
      async ({ params: { archive_id }, project }) => deleteArchive(store, environment, project, archive_id),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/archives/{archive_id}/agents",
        summary: "Lists the agents that have an archive",
        tag,
        params,
        query: pageQuery("agent", { limit: 50, order: "desc" }),
        response: z.array(z.string()),
      },
      async ({ params: { archive_id }, query, project }) => {
        const [archive] = await readArchives(store, project, [archive_id]);
        if (archive === undefined) throw notFound("archive", archive_id);
        return await agentsOfArchive(store, project, archive_id, pageOf(query));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/archives/{archive_id}/passages",
        summary: "Adds a passage to an archive",
        tag,
        params,
        body: createPassageSchema,
        response: passageSchema,
      },
      async ({ params: { archive_id }, body, project }) =>
        transact(store, environment, async (transaction) => {
          await getArchive(transaction, project, archive_id);
          return insertPassages(transaction, environment, project, archive_id, [body])[0];
        }),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/archives/{archive_id}/passages/batch",
        summary: "Adds passages to an archive, all or none",
        tag,
        params,
        body: batchBody,
        response: z.array(passageSchema),
      },
      async ({ params: { archive_id }, body, project }) =>
        transact(store, environment, async (transaction) => {
          await getArchive(transaction, project, archive_id);
          return insertPassages(transaction, environment, project, archive_id, body.passages);
        }),
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/archives/{archive_id}/passages/{passage_id}",
        summary: "Deletes a passage",
        tag,
        params: passageParams,
        status: 204,
      },
      async ({ params: { archive_id, passage_id }, project }) =>
        transact(store, environment, async (transaction) => {
          await getArchive(transaction, project, archive_id);
          const passage = await deletePassage(transaction, project, passage_id);
          if (passage.archive_id !== archive_id) throw notFound("passage", passage_id);
        }),
    ),
  ];
}
