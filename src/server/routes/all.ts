import type { AuditLog } from "../audit.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Services } from "../services.ts";
import { absentRoutes } from "./absent.ts";
import { actorSightRoutes } from "./actor-sight.ts";
import { actorRoutes } from "./actors.ts";
import { agentMemoryRoutes } from "./agent-memory.ts";
import { agentMessageRoutes } from "./agent-messages.ts";
import { agentToolRoutes } from "./agent-tools.ts";
import { agentRoutes } from "./agents.ts";
import { approvalRoutes } from "./approvals.ts";
import { archiveRoutes } from "./archives.ts";
import { auditRoutes } from "./audit.ts";
import { blockRoutes } from "./blocks.ts";
import { clusterRoutes } from "./cluster.ts";
import { conversationRoutes } from "./conversations.ts";
import { effectRoutes } from "./effects.ts";
import { healthRoutes } from "./health.ts";
import { mcpQuestionRoutes } from "./mcp-questions.ts";
import { mcpServerRoutes } from "./mcp-servers.ts";
import { messageRoutes } from "./messages.ts";
import { modelRoutes } from "./models.ts";
import { passageRoutes } from "./passages.ts";
import { providerRoutes } from "./providers.ts";
import { runRoutes } from "./runs.ts";
import { skillRoutes } from "./skills.ts";
import { stepRoutes } from "./steps.ts";
import { tagRoutes } from "./tags.ts";
import { toolPolicyRoutes } from "./tool-policies.ts";
import { toolRoutes } from "./tools.ts";

/** Every endpoint of the API. Where two paths fit a request, the earlier one answers. */
export function allEndpoints(services: Services, audit: AuditLog): readonly Endpoint[] {
  return [
    ...healthRoutes(services),
    ...clusterRoutes(services),
    ...auditRoutes(audit),
    ...agentRoutes(services),
    ...agentMemoryRoutes(services),
    ...agentToolRoutes(services),
    ...skillRoutes(services),
    ...agentMessageRoutes(services),
    ...conversationRoutes(services),
    ...blockRoutes(services),
    ...archiveRoutes(services),
    ...passageRoutes(services),
    ...messageRoutes(services),
    ...runRoutes(services),
    ...effectRoutes(services),
    ...stepRoutes(services),
    ...modelRoutes(services),
    ...providerRoutes(services),
    ...toolRoutes(services),
    ...toolPolicyRoutes(services),
    ...approvalRoutes(services),
    ...mcpServerRoutes(services),
    ...mcpQuestionRoutes(services),
    ...tagRoutes(services),
    ...absentRoutes(services),
    ...actorRoutes(services),
    ...actorSightRoutes(services),
  ];
}
