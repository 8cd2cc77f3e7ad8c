/** Policies of tools, as the API takes and gives them. */
import { z } from "@hono/zod-openapi";
import { entityBytesMax, fitsOneRow } from "../../storage/collection.ts";
import { approvalSecondsDefault, policyLimits, type ToolPolicy } from "../../tools/tool-policy.ts";
import { optional } from "./common.ts";

export type PolicyChange = Omit<ToolPolicy, "version"> & { readonly version?: number | null | undefined };

// Unknown fields are refused: a rule with a misspelt `arguments` would fit every call.
const pattern = z.string().min(1).max(policyLimits.patternCharacters);

/** RFC 6901. */
const pointer = /^(\/([^~/]|~[01])*)*$/;

const patterns = z.record(z.string(), z.string().max(policyLimits.patternCharacters)).superRefine((given, context) => {
  const names = Object.keys(given);
  const refuse = (message: string): void => context.addIssue({ code: "custom", message });
  if (names.length > policyLimits.argumentsPerRule) refuse(`expected at most ${policyLimits.argumentsPerRule} patterns`);
  if (!names.every((name) => name.length <= policyLimits.patternCharacters && pointer.test(name)))
    refuse("expected JSON pointers as names, such as /path or /lines/0, in which ~1 stands for / and ~0 for ~");
});

const rule = z
  .strictObject({ tool: pattern, arguments: optional(patterns), action: z.enum(["allow", "ask", "deny"]) })
  .transform(({ arguments: given, ...rest }) => ({ ...rest, ...(given == null ? {} : { arguments: given }) }))
  .openapi("ToolPolicyRule");

const limit = z
  .strictObject({
    tool: pattern,
    calls: z.int().min(1).max(policyLimits.calls).optional(),
    seconds: z.int().min(1).max(policyLimits.seconds).optional(),
    concurrency: z.int().min(1).max(policyLimits.concurrency).optional(),
  })
  .superRefine(({ calls, seconds, concurrency }, context) => {
    if ((calls === undefined) !== (seconds === undefined))
      context.addIssue({ code: "custom", message: "expected calls and seconds together: so many calls in so many seconds" });
    else if (calls === undefined && concurrency === undefined)
      context.addIssue({ code: "custom", message: "expected calls in seconds, or concurrency, or both" });
  })
  .openapi("ToolCallLimit");

const rules = z.array(rule).max(policyLimits.rules);
const version = optional(z.int().min(0)).openapi({
  description: "The version that is to be replaced: 409 if somebody has changed the policy since. Absent: whichever there is",
});

export const policyBody: z.ZodType<PolicyChange> = z
  .strictObject({
    version,
    rules,
    limits: z.array(limit).max(policyLimits.limits).default([]),
    approval_seconds: z.int().min(1).max(policyLimits.approvalSeconds).default(approvalSecondsDefault),
  })
  .superRefine(inOneRow)
  .openapi("ToolPolicyUpdate");

export const agentPolicyBody: z.ZodType<Pick<PolicyChange, "version" | "rules">> = z
  .strictObject({ version, rules })
  .superRefine(inOneRow)
  .openapi("AgentToolPolicyUpdate");

const shownRule = z.object({
  tool: z.string(),
  arguments: z.record(z.string(), z.string()).optional(),
  action: z.enum(["allow", "ask", "deny"]),
});
const shownLimit = z.object({ tool: z.string(), calls: z.int().optional(), seconds: z.int().optional(), concurrency: z.int().optional() });

export const policySchema: z.ZodType = z
  .object({ version: z.int(), rules: z.array(shownRule), limits: z.array(shownLimit), approval_seconds: z.int() })
  .openapi("ToolPolicy");

export const agentPolicySchema: z.ZodType = z.object({ version: z.int(), rules: z.array(shownRule) }).openapi("AgentToolPolicy");

function inOneRow(policy: unknown, context: z.core.$RefinementCtx): void {
  if (!fitsOneRow(policy))
    context.addIssue({
      code: "custom",
      message: `expected a policy of at most ${entityBytesMax} bytes of JSON: let fewer patterns fit more`,
    });
}
