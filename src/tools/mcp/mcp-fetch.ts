/**
 * Requests to MCP servers over HTTP, and to what they name: an adapter.
 *
 * A server says where its authorization server is, and that one where its endpoints are. A server of the public internet
 * names public addresses only, so that it cannot have this process ask its own network; one of a private network may name
 * any. An answer is bounded, a stream by its events.
 */
import { lookup } from "node:dns/promises";
import type { FetchLike } from "@modelcontextprotocol/client";
import { isPublicAddress, normalHost } from "../../sandbox/network-policy.ts";
import { effectIdMeta, McpConnectionError, mcpLimits } from "./mcp.ts";

/** An answer was too long, and is not read on. */
export class MessageTooLongError extends Error {
  override readonly name = "MessageTooLongError";
}

export function mcpFetch(serverUrl: string): FetchLike {
  const server = new URL(serverUrl);
  return async (input, init) => {
    const url = new URL(input);
    if (url.origin !== server.origin && !(await isPublic(url.hostname)) && (await isPublic(server.hostname)))
      throw new McpConnectionError(`the server ${server.host} names ${url.host}, which is of this host's own network: it is not asked`);
    return bounded(await fetch(url, withEffectId(init)));
  };
}

/** A call has the id of its effect in a header too, for whatever between here and the server knows nothing of the protocol. */
function withEffectId(init: RequestInit | undefined): RequestInit | undefined {
  if (typeof init?.body !== "string" || !init.body.includes(effectIdMeta)) return init;
  const { method, params } = JSON.parse(init.body) as { readonly method?: unknown; readonly params?: { readonly _meta?: Meta } };
  const id = params?._meta?.[effectIdMeta];
  // A model's name for a call, which is in the id, may be text that no header takes.
  if (method !== "tools/call" || typeof id !== "string" || !/^[\x21-\x7e]+$/.test(id)) return init;
  const headers = new Headers(init.headers);
  headers.set("idempotency-key", id);
  return { ...init, headers };
}

type Meta = { readonly [name: string]: unknown };

/** False also where a part of its addresses is not. */
async function isPublic(hostname: string): Promise<boolean> {
  const addresses = await lookup(normalHost(hostname), { all: true });
  return addresses.every(({ address }) => isPublicAddress(address));
}

function bounded(response: Response): Response {
  if (response.body === null) return response;
  const isStream = response.headers.get("content-type")?.includes("text/event-stream") === true;
  const { status, statusText, headers, url, redirected } = response;
  const body = response.body.pipeThrough(limit(isStream));
  // What cannot be given to the constructor.
  return Object.defineProperties(new Response(body, { status, statusText, headers }), {
    url: { value: url },
    redirected: { value: redirected },
  });
}

/** Fails what is longer than a message may be: as a whole, or between two empty lines. */
function limit(isStream: boolean): TransformStream<Uint8Array, Uint8Array> {
  const { messageBytes } = mcpLimits;
  let bytes = 0;
  return new TransformStream({
    transform(chunk, controller) {
      const end = isStream ? endOfEvent(chunk) : -1;
      bytes = end === -1 ? bytes + chunk.length : chunk.length - end;
      if (bytes > messageBytes) controller.error(new MessageTooLongError(`It sent more than ${messageBytes} bytes in one message`));
      else controller.enqueue(chunk);
    },
  });
}

/** Where the last event of a chunk ends. One that ends between two chunks is not seen, and counts with the next. */
function endOfEvent(chunk: Uint8Array): number {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
  return Math.max(bytes.lastIndexOf("\n\n"), bytes.lastIndexOf("\r\r"), bytes.lastIndexOf("\r\n\r\n"));
}
