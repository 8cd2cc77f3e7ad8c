/** What Kelpie does not have, where clients of V1 ask for a list of it: the truth is that there is none. */
import { z } from "@hono/zod-openapi";
import { anyObject, idOf, nullable } from "../schemas/common.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });
const noFiles = z
  .object({ files: z.array(anyObject), next_cursor: nullable(z.string()), has_more: z.boolean() })
  .openapi("PaginatedAgentFiles");

export function absentRoutes({ agents }: Services): Endpoint[] {
  const tag = "absent";
  const ofAgent = (path: string, summary: string, response: z.ZodType, answer: unknown): Endpoint =>
    endpoint(
      { method: "get", path: `/v1/agents/{agent_id}/${path}`, summary, tag, params, response },
      async ({ params: { agent_id }, project }) => {
        await agents.get(project, agent_id);
        return answer;
      },
    );
  const list = (path: string, summary: string): Endpoint =>
    endpoint({ method: "get", path, summary, tag, response: z.array(anyObject) }, async () => []);
  return [
    ofAgent("files", "Lists the files of an agent: none", noFiles, { files: [], next_cursor: null, has_more: false }),
    ofAgent("folders", "Lists the folders of an agent: none", z.array(anyObject), []),
    ofAgent("sources", "Lists the sources of an agent: none", z.array(anyObject), []),
    ofAgent("groups", "Lists the groups of an agent: none", z.array(anyObject), []),
    ofAgent("repositories", "Lists the repositories of an agent: none", z.object({ repositories: z.array(anyObject) }), {
      repositories: [],
    }),
    list("/v1/folders", "Lists folders: none"),
    list("/v1/sources", "Lists sources: none"),
    list("/v1/identities", "Lists identities: none"),
    list("/v1/groups", "Lists groups: none"),
    endpoint({ method: "get", path: "/v1/repositories", summary: "Lists repositories: none", tag }, async () => ({ repositories: [] })),
  ];
}
