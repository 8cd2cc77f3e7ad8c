import { FrameTransport, type FrameTransportOptions } from "./frame-transport.ts";
import type { CertificatePaths } from "./certificate-files.ts";
import { TcpPipes } from "./tcp-pipes.ts";
import { defaultTransportLimits, defaultTransportTimings } from "./transport-limits.ts";

export interface TcpTransportOptions extends FrameTransportOptions {
  /** Where to listen; port 0 takes one that is free. */
  readonly host: string;
  readonly port: number;
  /** What other nodes call this host; needed where `host` stands for all addresses. */
  readonly advertisedHost?: string;
  /** Mutual TLS. Without it, `secret` is needed, and the network must be one that nobody else can change packets in. */
  readonly certificates?: CertificatePaths;
}

/** Nodes as peers over TCP. */
export class TcpTransport extends FrameTransport {
  /** @throws {TypeError} There is neither a secret nor a certificate, or the secret is too short. */
  constructor(options: TcpTransportOptions) {
    const { environment, host, port, advertisedHost, certificates, secret, limits, timings } = options;
    if (secret === undefined && certificates === undefined)
      throw new TypeError("A node needs the cluster's secret, or certificates, to tell its peers from strangers");
    const { unprovenMax } = { ...defaultTransportLimits, ...limits };
    const pipes = {
      environment,
      host,
      port,
      advertisedHost,
      certificates,
      unprovenMax,
      timings: { ...defaultTransportTimings, ...timings },
    };
    super(options, new TcpPipes(pipes));
  }
}
