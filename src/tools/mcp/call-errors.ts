/** What a failed request to an MCP server says about it: whether it arrived, and what is needed. */
import { SdkError, SdkErrorCode, SdkHttpError } from "@modelcontextprotocol/client";
import { isStreamEnded } from "./http-transport.ts";
import { McpAuthorizationError } from "./mcp.ts";
import { MessageTooLongError } from "./mcp-fetch.ts";

/** Whether the request certainly did not arrive. */
export function isUnsent(error: unknown): boolean {
  const code = error instanceof Error && error.cause instanceof Error ? (error.cause as NodeJS.ErrnoException).code : undefined;
  return code !== undefined && ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"].includes(code);
}

/** Whether the request may have arrived without an answer coming back. */
export function isLost(error: unknown): boolean {
  if (error instanceof SdkHttpError) return error.status >= 500;
  if (error instanceof SdkError) return [SdkErrorCode.RequestTimeout, SdkErrorCode.ConnectionClosed].includes(error.code as SdkErrorCode);
  if (error instanceof TypeError || error instanceof MessageTooLongError || isStreamEnded(error)) return true;
  return (error as { code?: unknown }).code === "ECONNRESET";
}

/**
 * Whether the server did nothing, as it knows no such session or token, and may know the next one. For a session it says 404
 * by the protocol; servers made with the first SDK say 400 and name it.
 */
export function isUnknownToServer(error: unknown): boolean {
  const http = httpErrorIn(error);
  return http !== undefined && ([401, 404].includes(http.status) || (http.status === 400 && /session/i.test(http.message)));
}

export function httpErrorIn(error: unknown): SdkHttpError | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof SdkHttpError) return at;
  return undefined;
}

export function authorizationIn(error: unknown): McpAuthorizationError | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof McpAuthorizationError) return at;
  return undefined;
}

export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof SdkHttpError) return `HTTP ${error.status}: ${error.message}`.slice(0, 1_500);
  const cause = error.cause instanceof Error && !error.message.includes(error.cause.message) ? `: ${error.cause.message}` : "";
  return `${error.message}${cause}`.slice(0, 1_500);
}
