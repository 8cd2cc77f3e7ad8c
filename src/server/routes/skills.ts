import { z } from "@hono/zod-openapi";
import { openSkillName } from "../../tools/skills/open-skill.ts";
import { putSkill, readSkills, removeSkill } from "../../tools/skills/skills.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { unprocessable } from "../http-error.ts";
import { idOf } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });
const skillParams = z.object({ agent_id: idOf("agent"), skill_name: z.string() });

/** A folder of the Agent Skills format. */
const skillBody = z
  .object({
    files: z.array(
      z.object({
        path: z.string().openapi({ description: "In the skill's folder, such as scripts/count.py" }),
        content: z.string(),
        encoding: z.enum(["utf-8", "base64"]).default("utf-8"),
      }),
    ),
  })
  .openapi("CreateSkill");
const skillSchema = z
  .object({ name: z.string(), description: z.string(), files: z.int(), bytes: z.int(), created_at: z.string() })
  .openapi("Skill");

/** Skills of an agent: Kelpie's own part of the API, V1 has none. */
export function skillRoutes(services: Services): Endpoint[] {
  const { store, environment, agents, tools } = services;
  const tag = "skills";
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/skills",
        summary: "Lists the skills of an agent",
        tag,
        params,
        response: z.array(skillSchema),
      },
      async ({ params: { agent_id }, project }) => {
        await agents.get(project, agent_id);
        return await readSkills(store, { project, agentId: agent_id });
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/skills",
        summary: "Gives an agent a skill, in place of one of the same name, and the tool that opens it",
        tag,
        params,
        body: skillBody,
        response: skillSchema,
      },
      async ({ params: { agent_id }, body, project }) => {
        await agents.get(project, agent_id);
        const files = body.files.map(({ path, content, encoding }, index) => [path, bytesOf(content, encoding, index)] as const);
        const skill = await putSkill({ store, environment }, { project, agentId: agent_id }, files);
        await agents.attachTool(project, agent_id, tools.idOf(project, openSkillName));
        return skill;
      },
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/agents/{agent_id}/skills/{skill_name}",
        summary: "Takes a skill from an agent",
        tag,
        params: skillParams,
        status: 204,
      },
      async ({ params: { agent_id, skill_name }, project }) => {
        await agents.get(project, agent_id);
        await removeSkill({ store, environment }, { project, agentId: agent_id }, skill_name);
      },
    ),
  ];
}

function bytesOf(content: string, encoding: "utf-8" | "base64", index: number): Buffer {
  if (encoding === "utf-8") return Buffer.from(content);
  const bytes = Buffer.from(content, "base64");
  if (bytes.toString("base64").replace(/=+$/, "") !== content.replace(/=+$/, ""))
    throw unprocessable(`body.files.${index}.content: expected base64, received a text that is none`);
  return bytes;
}
