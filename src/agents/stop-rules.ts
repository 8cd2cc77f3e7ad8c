/** Why a run ends after a step. */
import { afterCall, type PastCall, uncalledRequired } from "../tools/tool-rules.ts";
import type { RunSetting } from "./step-plan.ts";
import type { StopReason } from "./run.ts";

/** After calls the run goes on, unless a rule ends it. */
export function stopAfterCalls(setting: RunSetting, past: readonly PastCall[]): StopReason | undefined {
  const names = [...setting.tools.keys()];
  if (afterCall(setting.rules, names, past) === "end") return "tool_rule";
  // The older agent types speak through a tool and stop after it, unless a rule says that they go on.
  const isOlder = setting.agent.agent_type === "memgpt_agent" || setting.agent.agent_type === "memgpt_v2_agent";
  return isOlder && past.at(-1)?.name === "send_message" ? "end_turn" : undefined;
}

/** An answer without calls ends the run, unless a tool must be called first. */
export function stopAfterText(setting: RunSetting, past: readonly PastCall[]): StopReason | undefined {
  return uncalledRequired(setting.rules, [...setting.tools.keys()], past).length > 0 ? undefined : "end_turn";
}
