/**
 * Requests of the agents' own to the web, by the same rule as those of sandboxes (E2 in egress-proxy.ts): the name is asked for
 * here, and the connection goes to the very address that was checked; again for each redirect.
 */
import { lookup as systemLookup } from "node:dns/promises";
import http from "node:http";
import https from "node:https";
import { isIP } from "node:net";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { isPublicAddress, normalHost } from "./network-policy.ts";

export interface PublicRequest {
  readonly url: string;
  readonly method: "GET" | "HEAD";
  /** Of the answer's body, after it is unpacked. */
  readonly bytesMax: number;
  readonly headers: Readonly<Record<string, string>>;
}

export interface PublicAnswer {
  /** Where the redirects led. */
  readonly url: string;
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
}

export interface PublicRequestOptions {
  /** All addresses of a name. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  /** Hosts, as `name:port`, that may be reached where they are not public: those of the owner's own network. */
  readonly privateHosts?: readonly string[];
}

/** The request was not made, or came to nothing. The message says why. */
export class PublicRequestError extends Error {
  override readonly name = "PublicRequestError";
}

const redirectsMax = 5;
const headerBytesMax = 32 * 1024;
const idleMilliseconds = 20_000;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** @throws {PublicRequestError} @throws What `signal` was aborted with. */
export async function requestPublic(request: PublicRequest, options: PublicRequestOptions, signal: AbortSignal): Promise<PublicAnswer> {
  let { url } = request;
  for (let count = 0; ; count++) {
    const target = parseUrl(url);
    const response = await send(target, await addressOf(target, options), request, signal);
    signal.throwIfAborted();
    const { statusCode: status = 0, headers } = response;
    const { location } = headers;
    if (!redirects.has(status) || location === undefined)
      return { url: target.href, status, contentType: headers["content-type"] ?? "", body: await readBody(response, request, signal) };
    response.destroy();
    if (count === redirectsMax)
      throw new PublicRequestError(`${shorten(request.url)} leads from one address to another more than ${redirectsMax} times`);
    if (!URL.canParse(location, target)) throw new PublicRequestError(`${target.host} leads to what is no address`);
    url = new URL(location, target).href;
  }
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new PublicRequestError(`${shorten(text)} is no address that begins with http:// or https://`);
  if (url.username !== "" || url.password !== "") throw new PublicRequestError("Names and passwords in addresses are not sent");
  return url;
}

async function addressOf(url: URL, { lookup = lookupAll, privateHosts = [] }: PublicRequestOptions): Promise<string> {
  const host = normalHost(url.hostname);
  let addresses: readonly string[];
  try {
    addresses = isIP(host) === 0 ? await lookup(host) : [host];
  } catch (error) {
    throw new PublicRequestError(`${host} is not known (${codeOf(error)})`, { cause: error });
  }
  if (addresses[0] === undefined) throw new PublicRequestError(`${host} has no address`);
  const bad = addresses.find((address) => !isPublicAddress(address));
  if (bad !== undefined && !privateHosts.includes(`${host}:${portOf(url)}`))
    throw new PublicRequestError(`${host} leads to ${bad}, which is no public address`);
  return addresses[0];
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}

function send(url: URL, address: string, { method, headers }: PublicRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const host = normalHost(url.hostname);
    const client = url.protocol === "https:" ? https : http;
    const request = client.request({
      host: address,
      port: portOf(url),
      // The certificate is held against the name, though the connection goes to the address.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      path: `${url.pathname}${url.search}`,
      method,
      headers: { ...headers, host: url.host, "accept-encoding": "gzip, deflate, br", connection: "close" },
      agent: false,
      maxHeaderSize: headerBytesMax,
      timeout: idleMilliseconds,
      signal,
    });
    request.once("timeout", () => request.destroy(new Error("it does not answer")));
    request.once("error", (error) => reject(failure(url, error)));
    request.once("response", resolve);
    request.end();
  });
}

async function readBody(response: http.IncomingMessage, { bytesMax, method }: PublicRequest, signal: AbortSignal): Promise<Buffer> {
  if (method === "HEAD") {
    response.destroy();
    return Buffer.alloc(0);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > bytesMax) return done(new PublicRequestError(`The answer has more than ${bytesMax} bytes`));
      chunks.push(chunk);
      done();
    },
  });
  const unpack = unpackers[response.headers["content-encoding"]?.trim().toLowerCase() ?? ""]?.();
  try {
    await (unpack === undefined ? pipeline(response, counted, { signal }) : pipeline(response, unpack, counted, { signal }));
  } catch (error) {
    if (signal.aborted || error instanceof PublicRequestError) throw error;
    throw new PublicRequestError(`The answer broke off: ${codeOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}

const unpackers: Readonly<Record<string, () => Transform>> = {
  gzip: () => zlib.createGunzip(),
  "x-gzip": () => zlib.createGunzip(),
  deflate: () => zlib.createInflate(),
  br: () => zlib.createBrotliDecompress(),
};

function failure({ host }: URL, error: Error): PublicRequestError {
  return new PublicRequestError(`${host} cannot be reached: ${codeOf(error)}`, { cause: error });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : String(error));
}

async function lookupAll(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address);
}

function shorten(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
