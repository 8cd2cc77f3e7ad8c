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

export interface McpEndpointOptions {
  readonly environment: Environment;
  /** Aborts when the process stops. */
  readonly closing: AbortSignal;
  /** Their answers are streams from the start, whose pings keep clients and proxies from giving up. */
  readonly longTools?: ReadonlySet<string>;
}

/**
 * Makes the answer to each request, with a `server` of its own.
 *
 * Who may ask is checked before: here it is only whether a page of another site asks with its reader's browser.
 */
export function mcpEndpoint(
  server: () => McpServer,
  { environment, closing, longTools }: McpEndpointOptions,
): (request: Request) => Promise<Response> {
  const options = { maxRequestBodySize: bodyBytesMax, maxSubscriptions: subscriptionsMax };
  const handler = createMcpHandler(server, options);
  const streaming = createMcpHandler(server, { ...options, responseMode: "sse" });
  const stop = async (): Promise<void> => {
    await environment.clock.sleep(farewellMilliseconds);
    await Promise.all([handler.close(), streaming.close()]);
  };
  closing.addEventListener("abort", () => void stop(), { once: true });
  return async (request) => {
    const origin = request.headers.get("origin");
    if (origin !== null && !isOwnPage(origin, request.url))
      return errorResponse(forbidden("Pages of other sites may not use this server's agents"), environment, request);
    // The newer era names the tool in a header, and what it names has to be what is called; the older one streams in any case.
    const isLong = longTools?.has(request.headers.get("mcp-name") ?? "") === true;
    return await (isLong ? streaming : handler).fetch(request);
  };
}
