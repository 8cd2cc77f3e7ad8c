/** Pipes over TCP, in the clear or with mutual TLS. */
import net from "node:net";
import tls from "node:tls";
import type { Environment } from "../environment/environment.ts";
import { formatAddress, parseAddress } from "./address.ts";
import { CertificateFiles, type CertificatePaths } from "./certificate-files.ts";
import type { Pipe, PipeEvents, Pipes } from "./pipe.ts";
import { HandshakeError, type NodeAddress, NodeUnreachableError } from "./transport.ts";
import type { TransportTimings } from "./transport-limits.ts";

export interface TcpPipesOptions {
  readonly environment: Environment;
  readonly timings: TransportTimings;
  /** Where to listen. Port 0: one that is free. */
  readonly host: string;
  readonly port: number;
  /** What other nodes call this host, if it is not `host`. */
  readonly advertisedHost?: string | undefined;
  readonly certificates?: CertificatePaths | undefined;
  /** Connections that have not come as far as a hello, because their TLS has not: one more, and the oldest is closed. */
  readonly unprovenMax: number;
}

/** How long the other end has to close a connection that this end has closed. */
const endMilliseconds = 1_000;

/** What makes the keying material of a TLS session a hello's own (RFC 5705). */
const bindingLabel = "EXPORTER-kelpie-hello";

export class TcpPipes implements Pipes {
  readonly #options: TcpPipesOptions;
  readonly #files: CertificateFiles | undefined;
  readonly #sockets = new Set<net.Socket>();
  /** Accepted sockets whose TLS is not ready, by the address of their other end, the oldest first. */
  readonly #handshaking = new Map<string, net.Socket>();
  #server: net.Server | undefined;

  constructor(options: TcpPipesOptions) {
    this.#options = options;
    const { certificates, environment, timings } = options;
    if (certificates !== undefined) this.#files = new CertificateFiles(certificates, environment, timings.certificates);
  }

  async dial(address: NodeAddress, open: (pipe: Pipe) => PipeEvents, signal: AbortSignal): Promise<void> {
    const { host, port } = parseAddress(address);
    const secure = await this.#files?.load().catch((error: Error): never => {
      throw new NodeUnreachableError(`Cannot reach ${address}: this node's own certificates cannot be used: ${error.message}`, {
        cause: error,
      });
    });
    await new Promise<void>((resolve, reject) => {
      const socket =
        secure === undefined
          ? net.connect({ host, port, noDelay: true })
          : // The authority is the cluster's own, and nodes move between hosts: which host it is says nothing.
            tls.connect({ host, port, secureContext: secure.context, checkServerIdentity: () => undefined });
      const giveUp = (): void => void socket.destroy(signal.reason as Error);
      const onError = (error: NodeJS.ErrnoException): void => {
        signal.removeEventListener("abort", giveUp);
        reject(dialError(address, error, secure !== undefined));
      };
      const onClose = (): void => onError(new Error("the connection was closed at once"));
      this.#keep(socket);
      signal.addEventListener("abort", giveUp);
      if (signal.aborted) giveUp();
      socket.once("error", onError);
      socket.once("close", onClose);
      socket.once(secure === undefined ? "connect" : "secureConnect", () => {
        signal.removeEventListener("abort", giveUp);
        socket.off("error", onError);
        socket.off("close", onClose);
        socket.setNoDelay(true);
        connectPipe(socket, address, open);
        resolve();
      });
    });
  }

  async listen(accept: (pipe: Pipe) => PipeEvents): Promise<NodeAddress> {
    const { host, port, advertisedHost, environment, timings } = this.#options;
    if (advertisedHost === undefined && (host === "0.0.0.0" || host === "::"))
      throw new TypeError(`Listening at ${host} needs an advertised host: the name or address by which other nodes reach this one`);
    const secure = await this.#files?.load();
    const server =
      secure === undefined
        ? net.createServer({ noDelay: true }, (socket) => connectPipe(socket, remoteOf(socket), accept))
        : tls.createServer(
            // Not rejected here but in the hello, which can say why.
            {
              ...secure.certificates,
              minVersion: "TLSv1.3",
              requestCert: true,
              rejectUnauthorized: false,
              handshakeTimeout: timings.hello,
            },
            (socket) => {
              this.#handshaking.delete(remoteOf(socket));
              connectPipe(socket.setNoDelay(true), remoteOf(socket), accept);
            },
          );
    server.on("connection", (socket: net.Socket) => {
      this.#keep(socket);
      if (secure !== undefined) this.#limitHandshakes(socket);
    });
    server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: net.Socket) => {
      const isPlain = error.code === "ERR_SSL_WRONG_VERSION_NUMBER";
      const why = isPlain ? "What came is no TLS: this node has a certificate, and whoever called it has none" : error.message;
      environment.log.write(isPlain ? "warn" : "info", "A connection of a node ended", { from: remoteOf(socket), why });
    });
    if (this.#files !== undefined)
      this.#files.onChange = (certificates) => (server as tls.Server).setSecureContext({ ...certificates, minVersion: "TLSv1.3" });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port }, () => {
        server.off("error", reject);
        resolve();
      });
    });
    // After the first error a server goes on: it was one connection that could not be accepted.
    server.on("error", (error) => environment.log.write("warn", "A connection of a node could not be accepted", { error }));
    return formatAddress({ host: advertisedHost ?? host, port: (server.address() as net.AddressInfo).port });
  }

  stopListening(): void {
    this.#server?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#files?.close();
    this.#server?.close();
    const closed = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    const cancel = this.#options.environment.clock.schedule(endMilliseconds, () => {
      for (const socket of this.#sockets) socket.destroy();
    });
    await Promise.all(closed);
    cancel();
  }

  #limitHandshakes(socket: net.Socket): void {
    const remote = remoteOf(socket);
    const [oldest] = this.#handshaking.values();
    if (oldest !== undefined && this.#handshaking.size >= this.#options.unprovenMax) oldest.destroy();
    this.#handshaking.set(remote, socket);
    socket.once("close", () => this.#handshaking.delete(remote));
  }

  #keep(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }
}

function connectPipe(socket: net.Socket, remote: string, open: (pipe: Pipe) => PipeEvents): void {
  const secure = socket instanceof tls.TLSSocket ? socket : undefined;
  let timer: NodeJS.Timeout | undefined;
  const pipe: Pipe = {
    remote,
    binding: secure?.exportKeyingMaterial(32, bindingLabel, Buffer.alloc(0)) ?? new Uint8Array(),
    certificateFault: secure === undefined || secure.authorized ? undefined : String(secure.authorizationError ?? "it has none"),
    write: (bytes) => socket.write(bytes),
    soon: (callback) => void setImmediate(callback),
    end: () => {
      if (socket.destroyed) return;
      socket.end();
      timer = setTimeout(() => socket.destroy(), endMilliseconds).unref();
    },
    destroy: () => void socket.destroy(),
  };
  const events = open(pipe);
  let failure: Error | undefined;
  socket.on("data", (bytes: Buffer) => events.received(bytes));
  socket.on("drain", () => events.drained());
  socket.on("error", (error) => {
    failure = error;
  });
  socket.on("close", () => {
    clearTimeout(timer);
    events.closed(failure);
  });
}

function remoteOf(socket: net.Socket): string {
  return formatAddress({ host: socket.remoteAddress ?? "unknown", port: socket.remotePort ?? 0 });
}

/** Errors of the network itself; all others, where TLS is spoken, are about certificates or about what is no TLS. */
const networkErrors = /^(E(CONN|HOST|NET|ADDR)\w+|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_\w+|EMFILE|ENFILE|EACCES|EPERM)$/;

function dialError(address: NodeAddress, error: NodeJS.ErrnoException, isSecure: boolean): Error {
  if (isSecure && error.code !== undefined && !networkErrors.test(error.code))
    return new HandshakeError(
      `Cannot join ${address}: its certificate is not one that the cluster's authority has signed, or it speaks no TLS (${error.code}: ${error.message.trim()}). ` +
        `Give that node a certificate of this cluster, or this node its authority`,
      { cause: error },
    );
  return new NodeUnreachableError(`Cannot reach ${address}: ${error.message}`, { cause: error });
}
