import { z } from "@hono/zod-openapi";
import { idOf, optional } from "./common.ts";

export interface ResumeBody {
  readonly agent_id?: string | null | undefined;
  readonly run_id?: string | null | undefined;
  readonly otid?: string | null | undefined;
  readonly starting_after?: number | null | undefined;
  readonly include_pings?: boolean | null | undefined;
}

/** `poll_interval` and `batch_size` are accepted for V1's clients: events are pushed, as many as there are. */
export const resumeSchema: z.ZodType<ResumeBody> = z
  .object({
    agent_id: optional(idOf("agent")),
    run_id: optional(idOf("run")),
    otid: optional(z.string()),
    starting_after: optional(z.int().min(0)),
    include_pings: optional(z.boolean()),
    poll_interval: optional(z.number()),
    batch_size: optional(z.int()),
  })
  .openapi("RetrieveStreamRequest");
