/** Who may talk to this server. */
import { callbackPath, clientPath } from "../tools/mcp/mcp.ts";
import { forbidden, unauthorized, type HttpError } from "./http-error.ts";

export interface AccessOptions {
  /** Required from every request but health checks. Absent: everybody who can reach the server may use it. */
  readonly key?: string | undefined;
  /** Refuse requests that name another host than this machine. For a server without a key on the loopback address. */
  readonly loopbackOnly?: boolean;
}

/** What access depends on. A `Request` is one. */
export interface RequestHead {
  readonly url: string;
  readonly headers: { get(name: string): string | null };
}

/** The tenant of every request, as there is one key. */
export const defaultProject = "default";

/** What says nothing that is secret, and where a browser comes back to with a secret of its own. */
const openPaths: ReadonlySet<string> = new Set(["/v1/health", "/v1/ready", callbackPath, clientPath]);

/** Makes the check of one request: the refusal, or nothing. `path` has no trailing slash. */
export function accessCheck(options: AccessOptions): (request: RequestHead, path: string) => HttpError | undefined {
  const { key, loopbackOnly } = options;
  return (request, path) => {
    if (loopbackOnly === true) {
      const refusal = foreignHost(request);
      if (refusal !== undefined) return refusal;
    }
    if (key === undefined || openPaths.has(path) || presentsKey(request.headers, key)) return undefined;
    return unauthorized();
  };
}

/**
 * A web page can make a browser send requests to this machine, under a name of its own that resolves to 127.0.0.1
 * (DNS rebinding) or across origins. Both show in headers that a page cannot forge.
 */
function foreignHost(request: RequestHead): HttpError | undefined {
  const host = hostOf(request.url);
  if (!isLoopbackName(host))
    return forbidden(
      `This server answers to localhost only, not to ${host}: it has no key (set KELPIE_API_KEY to be reachable under other names)`,
    );
  const origin = request.headers.get("origin");
  if (origin !== null && !isLoopbackName(hostOf(origin)))
    return forbidden("This server answers to pages of this machine only: it has no key");
  return undefined;
}

/** Whether a page of `origin` belongs to this machine, or to the host that the request was sent to. */
export function isOwnPage(origin: string, url: string): boolean {
  const host = hostOf(origin);
  return isLoopbackName(host) || (host !== "" && host === hostOf(url));
}

/** The host of a URL, without its port; empty for `null`, the origin of sandboxed pages. */
function hostOf(url: string): string {
  return /^[a-z]+:\/\/(\[[^\]]*\]|[^/:?#]*)/i.exec(url)?.[1]?.toLowerCase() ?? "";
}

export function isLoopbackName(host: string): boolean {
  return (
    host === "localhost" ||
    host.endsWith(".localhost") ||
    host === "[::1]" ||
    host === "::1" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
  );
}

function presentsKey(headers: RequestHead["headers"], key: string): boolean {
  const presented = presentedKey(headers);
  return presented !== undefined && sameText(presented, key);
}

/** The key that came with a request, right or wrong. */
export function presentedKey(headers: RequestHead["headers"]): string | undefined {
  const bearer = /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  // V1's older clients send the password in a header of their own.
  return bearer ?? /^password +(.+)$/.exec(headers.get("x-bare-password") ?? "")?.[1];
}

/** Compares in a time that depends on the length of `presented` alone, so that a guess does not learn how much of it was right. */
function sameText(presented: string, key: string): boolean {
  const [left, right] = [Buffer.from(presented), Buffer.from(key)];
  let difference = left.length ^ right.length;
  for (let index = 0; index < left.length; index++) difference |= left[index]! ^ right[index % right.length]!;
  return difference === 0;
}
