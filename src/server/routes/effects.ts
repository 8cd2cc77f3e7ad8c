/** Kelpie's own routes: the calls of a run that left it, and what became of those of which nobody knows. */
import { z } from "@hono/zod-openapi";
import { type EffectRecord, settledOutcomes } from "../../agents/effect-ledger.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { conflict, HttpError, show } from "../http-error.ts";
import { idOf, nullable, pageLimit } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const effectStates = ["intended", "started", "unknown", ...settledOutcomes] as const;

/** Kelpie's own: a call of a run that left it, or was about to. */
const effectSchema = z
  .object({
    effect_id: z.string(),
    run_id: idOf("run"),
    agent_id: idOf("agent"),
    conversation_id: z.string(),
    tool_name: z.string(),
    tool_call_id: nullable(z.string()),
    effect_class: z.enum(["readOnly", "idempotent", "once", "state"]),
    state: z.enum(effectStates),
    updated_at: z.string(),
    approval: nullable(z.object({ hash: z.string(), approved_at: z.string() })),
    settled: nullable(z.object({ outcome: z.enum(settledOutcomes), note: nullable(z.string()), at: z.string() })),
  })
  .openapi("Effect");

const settleSchema = z
  .object({
    outcome: z.enum(settledOutcomes),
    note: z.string().max(10_000).optional().describe("What the agent is told beside"),
  })
  .strict()
  .openapi("SettleEffect");

const effectIdCharactersMax = 1_000;
const ofRun = z.object({ run_id: idOf("run") });
const ofEffect = ofRun.extend({ effect_id: z.string().min(1).max(effectIdCharactersMax) });
const pageQuery = z.object({
  after: z.string().max(effectIdCharactersMax).optional().describe("Only effects behind this one: the id that the last page ended with"),
  limit: pageLimit(100),
});

export function effectRoutes({ conversations }: Services): Endpoint[] {
  const tag = "effects";
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/effects",
        summary: "Lists calls of tools whose outcome nobody knows, until they are settled",
        tag,
        query: pageQuery,
        response: z.array(effectSchema),
      },
      async ({ query, project }) => (await conversations.unknownEffects(project, query)).map(view),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/effects",
        summary: "Lists the calls of a run that left Kelpie, or were about to",
        tag,
        params: ofRun,
        query: pageQuery.extend({ state: z.enum(effectStates).optional() }),
        response: z.array(effectSchema),
      },
      async ({ params: { run_id }, query, project }) => (await conversations.runEffects(project, run_id, query)).map(view),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/effects/{effect_id}",
        summary: "Reads one",
        tag,
        params: ofEffect,
        response: effectSchema,
      },
      async ({ params: { run_id, effect_id }, project }) =>
        view(await conversations.effect(project, { runId: run_id, effectId: effect_id })),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/runs/{run_id}/effects/{effect_id}/settle",
        summary: "Says what became of a call whose outcome is unknown; its agent is told",
        tag,
        params: ofEffect,
        body: settleSchema,
        response: effectSchema,
        audit: "effect.settle",
      },
      async ({ params: { run_id, effect_id }, body: { outcome, note = null }, project }) => {
        const settled = await conversations.settleEffect(project, { runId: run_id, effectId: effect_id }, { outcome, note });
        if (settled.ok) return view(settled.effect);
        if (settled.reason === "notFound") throw new HttpError(404, { detail: `NOT_FOUND: Effect ${show(effect_id)} not found` });
        const { state, settled: before } = settled.effect;
        throw conflict(
          before === undefined
            ? `The outcome of this call is known: ${state}. Only one that is unknown is settled`
            : `This call was settled at ${before.at} as ${before.outcome}${before.note === null ? "" : `, with a note`}: the agent was told so`,
        );
      },
    ),
  ];
}

function view(effect: EffectRecord): unknown {
  return { ...effect, tool_call_id: effect.tool_call_id ?? null, approval: effect.approval ?? null, settled: effect.settled ?? null };
}
