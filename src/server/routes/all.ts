import type { Endpoint } from "../endpoint.ts";
import type { Services } from "../services.ts";
import { actorRoutes } from "./actors.ts";
import { blockRoutes } from "./blocks.ts";
import { healthRoutes } from "./health.ts";

/** Every endpoint of the API. Where two paths fit a request, the earlier one answers. */
export function allEndpoints(services: Services): readonly Endpoint[] {
  return [...healthRoutes(), ...blockRoutes(services), ...actorRoutes(services)];
}
