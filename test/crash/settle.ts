/** What is left of the calls whose outcome nobody knows: they are listed, settled with the command, and their agents hear of it. */
import { kelpie } from "../end-to-end/kelpie-command.ts";
import type { Api, ApiEffect } from "./api.ts";
import type { FinalState } from "./checker.ts";
import { type Effect, wasCounted } from "./world.ts";

export interface Settled {
  readonly unknown: number;
  readonly settled: number;
  /** Calls of which their tool knew after a crash. */
  readonly reconciled: number;
  readonly problems: readonly string[];
}

/** As many as a command line takes easily. */
const perCommand = 100;

/** `states` are those of before, `effects` what was counted outside: what a person would look up. */
export async function settleUnknown(
  api: Api,
  url: string,
  states: ReadonlyMap<string, FinalState>,
  effects: ReadonlyMap<string, Effect>,
): Promise<Settled> {
  const problems: string[] = [];
  const listed = await api.unknownEffects();
  const told = toldUnknown(states);
  for (const { effect_id } of listed)
    if (!told.delete(callOf(effect_id))) problems.push(`${effect_id} is listed, and its agent was not told`);
  for (const call of told) problems.push(`${call}: its agent was told that it is unknown, and it is not listed`);

  const settled: ApiEffect[] = [];
  for (const [outcome, those] of Map.groupBy(listed, (effect) => (effects.has(effect.effect_id) ? "succeeded" : "did_not_happen")))
    for (let from = 0; from < those.length; from += perCommand) {
      const ids = those.slice(from, from + perCommand).map(({ effect_id }) => effect_id);
      const { code, output, notes } = await kelpie(["effects", "settle", ...ids, "--outcome", outcome, "--json"], {
        variables: { KELPIE_SERVER: url },
      });
      if (code !== 0) problems.push(`kelpie effects settle ended with ${code}: ${notes}`);
      else settled.push(...(JSON.parse(output) as readonly ApiEffect[]));
    }
  for (const { effect_id } of await api.unknownEffects()) problems.push(`${effect_id} is still listed as unknown`);
  for (const [agentId, those] of Map.groupBy(settled, (effect) => effect.agent_id)) {
    const { messages } = await api.finalState(agentId);
    for (const { tool_call_id: id, effect_id } of those)
      if (messages.filter((message) => String(message.content).includes(`What became of the call ${id} of`)).length !== 1)
        problems.push(`${effect_id} was settled, and its agent was not told once`);
  }
  const reconciled = returnsOf(states).filter(({ tool_return }) => tool_return.includes(wasCounted)).length;
  return { unknown: listed.length, settled: settled.length, reconciled, problems };
}

/** The calls of which a conversation says that their outcome is unknown. */
function toldUnknown(states: ReadonlyMap<string, FinalState>): Set<string> {
  const unknown = returnsOf(states).filter(({ tool_return }) => tool_return.includes("is unknown"));
  return new Set(unknown.map(({ run_id, tool_call_id }) => `${run_id}:${tool_call_id}`));
}

function returnsOf(
  states: ReadonlyMap<string, FinalState>,
): { readonly run_id: string; readonly tool_call_id: string; readonly tool_return: string }[] {
  return [...states.values()].flatMap(({ messages }) =>
    messages.flatMap(({ run_id, tool_returns = [] }) => tool_returns.map((each) => ({ ...each, run_id: run_id! }))),
  );
}

/** The run and the call of an effect, without its step. */
function callOf(effectId: string): string {
  const [runId, , ...call] = effectId.split(":");
  return `${runId}:${call.join(":")}`;
}
