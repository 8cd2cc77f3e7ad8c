/**
 * The one way out of sandboxes: an HTTP proxy that asks a policy before it connects.
 *
 * E1. It connects only to hosts and ports that a rule of the sandbox names.
 * E2. It asks for the name itself and connects to the very address it checked: never to this host's or a private network's,
 *     unless the rule says so.
 * E3. A secret goes only to the hosts it is for, over TLS or to where the rule allows private addresses; a request that holds
 *     its placeholder and goes elsewhere is refused.
 * E4. What it passes on it has read and written anew: no header reaches a host as the sandbox shaped its bytes.
 */
import { lookup as systemLookup } from "node:dns/promises";
import http from "node:http";
import net from "node:net";
import tls from "node:tls";
import type { Environment } from "../environment/environment.ts";
import { EgressGate, Refusal } from "./egress-gate.ts";
import { isPublicAddress, normalHost, type NetworkPolicy } from "./network-policy.ts";

export interface EgressProxyOptions {
  readonly environment: Environment;
  /** All addresses of a name. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  /** Certificates to be trusted beside the usual ones, in PEM. */
  readonly authorities?: readonly string[];
}

const connectMilliseconds = 10_000;
const idleMilliseconds = 300_000;
const headerBytesMax = 64 * 1024;
const addressesMax = 4;

const established = "HTTP/1.1 200 Connection established\r\n\r\n";

/** What is between two neighbours and not passed on (RFC 9110, 7.6.1). */
const hopHeaders = new Set(
  (
    "connection keep-alive te trailer transfer-encoding upgrade host " +
    "proxy-authorization proxy-authenticate proxy-connection proxy-authentication-info"
  ).split(" "),
);

export class EgressProxy {
  readonly #environment: Environment;
  readonly #lookup: (host: string) => Promise<readonly string[]>;
  readonly #authorities: readonly string[] | undefined;
  readonly #server: http.Server;
  readonly #gates = new WeakMap<net.Socket, EgressGate>();
  /** Hosts that a client speaks plain HTTP to within a tunnel. */
  readonly #plainHosts = new WeakMap<net.Socket, string>();

  constructor({ environment, lookup = lookupAll, authorities }: EgressProxyOptions) {
    this.#environment = environment;
    this.#lookup = lookup;
    this.#authorities = authorities === undefined ? undefined : [...tls.rootCertificates, ...authorities];
    this.#server = http.createServer({ maxHeaderSize: headerBytesMax, headersTimeout: connectMilliseconds, requestTimeout: 0 });
    this.#server.on("request", (request, response) => void this.#answer(request, response));
    this.#server.on(
      "connect",
      (request: http.IncomingMessage, client: net.Socket, head: Buffer) => void this.#tunnel(request, client, head),
    );
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  /** Serves who connects to `listener`, by `policy`. */
  attach(listener: net.Server, sandbox: { readonly id: string; readonly policy: NetworkPolicy }): EgressGate {
    const gate = new EgressGate(this.#environment, listener, sandbox);
    listener.on("connection", (client) => {
      client.on("error", () => client.destroy());
      if (!gate.admit(client)) return;
      this.#gates.set(client, gate);
      this.#server.emit("connection", client);
    });
    return gate;
  }

  async #tunnel(request: http.IncomingMessage, client: net.Socket, head: Buffer): Promise<void> {
    const gate = this.#gates.get(request.socket)!;
    const [, name, port] = /^(\[[0-9a-f:.]+\]|[^:/@[\]\s]+):(\d{1,5})$/i.exec(request.url ?? "") ?? [];
    try {
      if (name === undefined) throw new Refusal(400, "its target is not a host and a port");
      const target = { host: normalHost(name), port: Number(port) };
      if (target.port === 80 && gate.isUpgraded(target.host)) {
        // Some programs ask for a tunnel also to speak plain HTTP: it ends here, and its requests are as any others.
        client.write(established);
        this.#plainHosts.set(client, name);
        if (head.length > 0) client.unshift(head);
        this.#server.emit("connection", client);
        return;
      }
      const rule = gate.ruleFor(target);
      const upstream = await this.#connect(target, { privateAddresses: rule.privateAddresses === true });
      if (!gate.follow(client, upstream, target)) return;
      client.write(established);
      upstream.write(head);
      for (const [from, to] of [[client, upstream] as const, [upstream, client] as const]) {
        from.setTimeout(idleMilliseconds, () => from.destroy());
        from.on("data", (bytes: Buffer) => gate.count(bytes.length));
        from.once("close", () => to.destroy());
        from.pipe(to);
      }
      gate.count(head.length);
    } catch (error) {
      const { status, message } = gate.refused(error, { method: "CONNECT", target: request.url ?? "" });
      client.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${message}\n`);
    }
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const gate = this.#gates.get(request.socket)!;
    try {
      const url = parseTarget(request.url ?? "", this.#plainHosts.get(request.socket));
      const host = normalHost(url.hostname);
      const { rule, port } = gate.requestRule({ host, port: url.port === "" ? undefined : Number(url.port) });
      const isSafe = rule.upgrade === true || rule.privateAddresses === true;
      const headers = gate.insertSecrets(passedOn(request.rawHeaders), { host, isSafe });
      let upstream: net.Socket = await this.#connect({ host, port }, { privateAddresses: rule.privateAddresses === true });
      if (!gate.follow(request.socket, upstream, { host, port })) return;
      if (rule.upgrade === true) upstream = await this.#secure(upstream, host);
      await this.#forward({
        request,
        response,
        upstream,
        gate,
        path: `${url.pathname}${url.search}`,
        headers: ["Host", url.host, ...headers],
      });
    } catch (error) {
      const { status, message } = gate.refused(error, { method: request.method ?? "", target: request.url ?? "" });
      if (response.headersSent) response.destroy();
      else response.writeHead(status, { "content-type": "text/plain", connection: "close" }).end(`${message}\n`);
    }
  }

  #forward({ request, response, upstream, gate, path, headers }: Forwarding): Promise<void> {
    return new Promise((resolve, reject) => {
      const hasBody = request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined;
      const isChunked = request.headers["transfer-encoding"] !== undefined;
      const out = http.request({
        method: request.method!,
        path,
        headers: [...headers, "Connection", "close", ...(isChunked ? ["Transfer-Encoding", "chunked"] : [])],
        setHost: false,
        createConnection: () => upstream,
      });
      upstream.setTimeout(idleMilliseconds, () => upstream.destroy());
      out.on("error", reject);
      out.on("response", (answer) => {
        response.writeHead(answer.statusCode!, passedOn(answer.rawHeaders));
        answer.on("data", (bytes: Buffer) => gate.count(bytes.length));
        answer.on("error", reject);
        answer.pipe(response);
        response.on("finish", resolve);
      });
      response.on("close", () => {
        upstream.destroy();
        resolve();
      });
      if (!hasBody) return void out.end();
      request.on("data", (bytes: Buffer) => gate.count(bytes.length));
      request.pipe(out);
    });
  }

  /** E2: to an address that was looked up and checked here. */
  async #connect(
    target: { readonly host: string; readonly port: number },
    { privateAddresses }: { readonly privateAddresses: boolean },
  ): Promise<net.Socket> {
    const { host, port } = target;
    const addresses = net.isIP(host) === 0 ? await this.#resolve(host) : [host];
    if (!privateAddresses) {
      const bad = addresses.find((address) => !isPublicAddress(address));
      if (bad !== undefined) throw new Refusal(403, `${host} leads to ${bad}, which is no public address`);
    }
    let problem = "it has no address";
    for (const address of addresses.slice(0, addressesMax)) {
      const result = await connectTo(address, port);
      if (result instanceof net.Socket) return result;
      problem = result;
    }
    throw new Refusal(502, `${host}:${port} cannot be reached: ${problem}`);
  }

  async #resolve(host: string): Promise<readonly string[]> {
    try {
      return await this.#lookup(host);
    } catch (error) {
      throw new Refusal(502, `${host} is not known (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
    }
  }

  #secure(socket: net.Socket, host: string): Promise<net.Socket> {
    return new Promise((resolve, reject) => {
      const ca = this.#authorities === undefined ? {} : { ca: [...this.#authorities] };
      const secured = tls.connect({ socket, host, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...ca });
      secured.once("secureConnect", () => resolve(secured));
      secured.once("error", ({ message }) => reject(new Refusal(502, `${host} does not prove who it is: ${message}`)));
    });
  }
}

interface Forwarding {
  readonly request: http.IncomingMessage;
  readonly response: http.ServerResponse;
  readonly upstream: net.Socket;
  readonly gate: EgressGate;
  readonly path: string;
  readonly headers: readonly string[];
}

async function lookupAll(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address);
}

/** A proxy is given the whole address; what else is in it is refused rather than guessed at. */
function parseTarget(given: string, plainHost: string | undefined): URL {
  const text = plainHost !== undefined && given.startsWith("/") ? `http://${plainHost}${given}` : given;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.username !== "" || url.password !== "")
    throw new Refusal(400, "its target is not the whole address of an http:// resource; for https:// there is CONNECT");
  return url;
}

/** Without what concerns only the neighbour, and what a Connection header names as such. */
function passedOn(raw: readonly string[]): string[] {
  const dropped = new Set(hopHeaders);
  eachHeader(raw, (name, value) => {
    if (name.toLowerCase() === "connection") for (const word of value.split(",")) dropped.add(word.trim().toLowerCase());
  });
  const kept: string[] = [];
  eachHeader(raw, (name, value) => {
    if (!dropped.has(name.toLowerCase())) kept.push(name, value);
  });
  return kept;
}

function eachHeader(raw: readonly string[], take: (name: string, value: string) => void): void {
  for (let index = 0; index + 1 < raw.length; index += 2) take(raw[index]!, raw[index + 1]!);
}

/** A connection, or why there is none. */
function connectTo(host: string, port: number): Promise<net.Socket | string> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: connectMilliseconds });
    const fail = (why: string): void => {
      socket.destroy();
      resolve(why);
    };
    socket.once("timeout", () => fail("it does not answer"));
    socket.once("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners();
      socket.on("error", () => socket.destroy());
      resolve(socket);
    });
  });
}
