import { z } from "@hono/zod-openapi";
import { anyObject, idOf, nullable } from "./common.ts";

/** Letta's Conversation. */
export const conversationSchema: z.ZodType = z
  .object({
    id: z.union([idOf("conv"), z.literal("default")]),
    agent_id: idOf("agent"),
    created_at: nullable(z.string()),
    updated_at: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
    summary: nullable(z.string()),
    description: nullable(z.string()),
    in_context_message_ids: z.array(idOf("message")),
    isolated_block_ids: z.array(z.string()),
    model: nullable(z.string()),
    model_settings: nullable(anyObject),
    context_window_limit: nullable(z.int()),
    last_message_at: nullable(z.string()),
    archived: z.boolean(),
    archived_at: nullable(z.string()),
    hidden: nullable(z.boolean()),
  })
  .openapi("Conversation");
