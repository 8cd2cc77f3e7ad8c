/**
 * Aliases as letta-code writes them: the part of a handle after its provider, with or without a reasoning level
 * (`gpt-5-mini`, `gpt-5-mini-low`, `sonnet-4.6-low`). The level also works at the end of a whole handle.
 */
import type { ModelInfo, ModelSettings } from "./model.ts";

export type ReasoningEffort = NonNullable<ModelSettings["reasoningEffort"]>;

const efforts: readonly ReasoningEffort[] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/** `gpt-5-mini-low` is `gpt-5-mini` at `low`. */
export function splitEffort(name: string): { readonly name: string; readonly effort?: ReasoningEffort } {
  const effort = efforts.find((candidate) => name.endsWith(`-${candidate}`));
  return effort === undefined ? { name } : { name: name.slice(0, -effort.length - 1), effort };
}

/** The first of `models` that the alias can mean: word for word before loosely, the whole before a level cut off. */
export function findAlias(
  alias: string,
  models: readonly ModelInfo[],
): { readonly info: ModelInfo; readonly effort?: ReasoningEffort } | undefined {
  const { name, effort } = splitEffort(alias);
  const candidates = effort === undefined ? [{ name: alias }] : [{ name: alias }, { name, effort }];
  for (const matches of [isWordForWord, isLoosely])
    for (const candidate of candidates) {
      const info = models.find((model) => matches(candidate.name, model));
      if (info !== undefined) return candidate.effort === undefined ? { info } : { info, effort: candidate.effort };
    }
  return undefined;
}

function isWordForWord(alias: string, model: ModelInfo): boolean {
  return alias === model.handle || alias === model.name;
}

/** `sonnet-4.6` is `claude-sonnet-4-6-20260115`. Only bare names: a handle says which model it means. */
function isLoosely(alias: string, model: ModelInfo): boolean {
  return !alias.includes("/") && plain(alias) === plain(model.name);
}

function plain(name: string): string {
  return name
    .toLowerCase()
    .replace(/^.*\//, "")
    .replace(/^claude-/, "")
    .replace(/-(?:\d{8}|latest)$/, "")
    .replaceAll(".", "-");
}
