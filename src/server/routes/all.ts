import type { Endpoint } from "../endpoint.ts";
import type { Services } from "../services.ts";
import { actorRoutes } from "./actors.ts";
import { archiveRoutes } from "./archives.ts";
import { blockRoutes } from "./blocks.ts";
import { healthRoutes } from "./health.ts";
import { lettaCodeRoutes } from "./letta-code.ts";
import { messageRoutes } from "./messages.ts";
import { modelRoutes } from "./models.ts";
import { passageRoutes } from "./passages.ts";
import { providerRoutes } from "./providers.ts";
import { runRoutes } from "./runs.ts";
import { stepRoutes } from "./steps.ts";
import { tagRoutes } from "./tags.ts";

/** Every endpoint of the API. Where two paths fit a request, the earlier one answers. */
export function allEndpoints(services: Services): readonly Endpoint[] {
  return [
    ...healthRoutes(),
    ...blockRoutes(services),
    ...archiveRoutes(services),
    ...passageRoutes(services),
    ...messageRoutes(services),
    ...runRoutes(services),
    ...stepRoutes(services),
    ...modelRoutes(services),
    ...providerRoutes(services),
    ...tagRoutes(services),
    ...lettaCodeRoutes(services),
    ...actorRoutes(services),
  ];
}
