/** What MCP servers ask a person in the middle of a call. Kelpie's own. */
import { z } from "@hono/zod-openapi";
import { readMcpServer } from "../../tools/mcp/server-record.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { anyObject, idOf, nullable, optional, time } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({ mcp_server_id: idOf("mcp_server") });
const questionParams = params.extend({ question_id: idOf("mcp_question") });

const questionSchema = z
  .object({
    id: idOf("mcp_question"),
    server_id: idOf("mcp_server"),
    server_name: z.string(),
    calls: z.array(z.object({ agent_id: z.string(), tool: z.string() })),
    asked_at: time,
    expires_at: time,
    message: z.string(),
    requested_schema: nullable(anyObject),
    url: nullable(z.string()),
  })
  .openapi("MCPQuestion");

const value = z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]);
const answerBody = z
  .object({ action: z.enum(["accept", "decline", "cancel"]), content: optional(z.record(z.string(), value)) })
  .openapi("MCPAnswer");

export function mcpQuestionRoutes({ store, mcp: { questions } }: Services): Endpoint[] {
  const tag = "mcp-servers";
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/mcp-servers/{mcp_server_id}/questions",
        summary: "Lists what an MCP server asks a person now. Kelpie's own",
        tag,
        params,
        response: z.array(questionSchema),
      },
      async ({ params: { mcp_server_id }, project }) => {
        await readMcpServer(store, project, mcp_server_id);
        return await questions.list(project, mcp_server_id);
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/mcp-servers/{mcp_server_id}/questions/{question_id}",
        summary: "Answers a question of an MCP server, and gives the question. Kelpie's own",
        tag,
        params: questionParams,
        body: answerBody,
        response: questionSchema,
        audit: "mcp_server.answer",
      },
      async ({ params: { mcp_server_id, question_id }, body: { action, content }, project }) =>
        await questions.answer(project, mcp_server_id, question_id, { action, ...(content == null ? {} : { content }) }),
    ),
  ];
}
