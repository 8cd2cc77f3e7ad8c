import type { Model } from "./model.ts";
import type { ReasoningEffort } from "./model-alias.ts";

/** The same model at `effort`, for requests that do not say one. */
export function withReasoningEffort(model: Model, effort: ReasoningEffort): Model {
  return {
    handle: model.handle,
    generate: (request, signal) => model.generate({ ...request, settings: { reasoningEffort: effort, ...request.settings } }, signal),
  };
}
