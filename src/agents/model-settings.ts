/** Letta's `model_settings` as settings of the model port. */
import type { Json } from "../base/json.ts";
import type { ModelSettings } from "../models/model.ts";
import type { AgentRecord } from "./agent.ts";

type Fields = { readonly [field: string]: Json | undefined };

export function modelSettings(agent: Pick<AgentRecord, "model_settings" | "response_format">, override: Json): ModelSettings {
  const fields: Fields = { ...agent.model_settings, ...fieldsOf(override) };
  const reasoning = fieldsOf(fields["reasoning"]);
  const thinking = fieldsOf(fields["thinking"]);
  const effort = reasoning["reasoning_effort"] ?? fields["effort"] ?? fields["reasoning_effort"];
  const budget = thinking["type"] === "disabled" ? undefined : thinking["budget_tokens"];
  const format = responseFormat(fields["response_format"] ?? agent.response_format);
  return {
    ...(typeof fields["max_output_tokens"] === "number" ? { maxOutputTokens: fields["max_output_tokens"] } : {}),
    ...(typeof fields["temperature"] === "number" ? { temperature: fields["temperature"] } : {}),
    ...(typeof fields["parallel_tool_calls"] === "boolean" ? { parallelToolCalls: fields["parallel_tool_calls"] } : {}),
    ...(isEffort(effort) ? { reasoningEffort: effort } : {}),
    ...(typeof budget === "number" ? { reasoningBudgetTokens: budget } : {}),
    ...(format === undefined ? {} : { responseFormat: format }),
  };
}

function responseFormat(value: Json | undefined): ModelSettings["responseFormat"] {
  const format = fieldsOf(value);
  if (format["type"] === "text" || format["type"] === "json_object") return { type: format["type"] };
  if (format["type"] === "json_schema" && format["json_schema"] !== undefined)
    return { type: "json_schema", schema: format["json_schema"] };
  return undefined;
}

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

function isEffort(value: Json | undefined): value is (typeof efforts)[number] {
  return efforts.some((effort) => effort === value);
}

function fieldsOf(value: Json | undefined): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}
