/**
 * A server of the Model Context Protocol over streamable HTTP, in both of its eras.
 *
 * Nothing is kept between requests: there are no sessions to run out of, to expire or to steal, and any node answers any
 * request. What a session would be for, questions to the caller in the middle of a call, works in the newer era alone, where
 * the answer comes with the call that is made again.
 */
import { createMcpHandler, type McpServer } from "@modelcontextprotocol/server";
import type { Environment } from "../../environment/environment.ts";
import { isOwnPage } from "../authentication.ts";
import { errorResponse } from "../error-answer.ts";
import { forbidden } from "../http-error.ts";

/** Room for the longest message in the longest encoding. */
const bodyBytesMax = 8 * 1024 * 1024;
/** Streams on which callers wait for what changes. */
const subscriptionsMax = 1_000;
/** For calls under way to say that they are not waited for, before their streams end. */
const farewellMilliseconds = 500;

/**
 * Makes the answer to each request, with a `server` of its own. `closing` aborts when the process stops.
 *
 * Who may ask is checked before: here it is only whether a page of another site asks with its reader's browser.
 */
export function mcpEndpoint(
  server: () => McpServer,
  { environment, closing }: { readonly environment: Environment; readonly closing: AbortSignal },
): (request: Request) => Promise<Response> {
  const handler = createMcpHandler(server, {
    maxRequestBodySize: bodyBytesMax,
    maxSubscriptions: subscriptionsMax,
    // Always as a stream: its pings keep clients and proxies from giving up on an answer that takes long.
    responseMode: "sse",
  });
  const stop = async (): Promise<void> => {
    await environment.clock.sleep(farewellMilliseconds);
    await handler.close();
  };
  closing.addEventListener("abort", () => void stop(), { once: true });
  return async (request) => {
    const origin = request.headers.get("origin");
    if (origin !== null && !isOwnPage(origin, request.url))
      return errorResponse(forbidden("Pages of other sites may not use this server's agents"), environment, request);
    return await handler.fetch(request);
  };
}
