/** Requests for approval, and what a person says to them. */
import { z } from "@hono/zod-openapi";
import type { ApprovalDecision } from "../../agents/chat-message.ts";
import { idOf, nullable, optional } from "./common.ts";

const callsMax = 128;
const reason = optional(z.string().max(10_000)).openapi({ description: "Why not: the agent is told" });

interface DecisionBody {
  readonly approve?: boolean | null | undefined;
  readonly reason?: string | null | undefined;
  readonly decisions?: readonly (Pick<ApprovalDecision, "tool_call_id" | "approve"> & Pick<DecisionBody, "reason">)[] | null | undefined;
  readonly hash?: string | null | undefined;
}

/** Either all calls are decided alike, or each by itself. Unknown fields are refused: they might have been meant as a no. */
export const decisionBody: z.ZodType<DecisionBody> = z
  .strictObject({
    approve: optional(z.boolean()),
    reason,
    decisions: optional(
      z
        .array(z.strictObject({ tool_call_id: z.string().max(200), approve: z.boolean(), reason }))
        .min(1)
        .max(callsMax),
    ),
    hash: optional(z.string()).openapi({ description: "Of the request as it was shown: 409 if it is another one" }),
  })
  .superRefine(({ approve, decisions }, context) => {
    if ((approve == null) === (decisions == null))
      context.addIssue({ code: "custom", message: "expected either approve for all calls, or decisions for each" });
    else if (decisions == null) return;
    if (new Set(decisions?.map((each) => each.tool_call_id)).size !== (decisions?.length ?? 0))
      context.addIssue({ code: "custom", path: ["decisions"], message: "expected one decision for each call" });
  })
  .openapi("ApprovalDecisions");

export const approvalSchema: z.ZodType = z
  .object({
    id: idOf("message"),
    agent_id: idOf("agent"),
    conversation_id: nullable(z.string()),
    run_id: idOf("run"),
    step_id: idOf("step"),
    created_at: z.string(),
    expires_at: nullable(z.string()),
    hash: z.string(),
    calls: z.array(
      z.object({
        tool_call_id: z.string(),
        name: z.string(),
        arguments: z.string().openapi({ description: "As the model wrote them" }),
        arguments_cut: z.boolean().openapi({ description: "Lists show the beginning of long arguments: read the approval to see all" }),
        waits_for: nullable(z.enum(["approval", "client"])).openapi({ description: "Null: the call is made with the others" }),
      }),
    ),
  })
  .openapi("Approval");
