/** The network, as the adapters of this folder use it, and the limits of its use. */
import type { Environment } from "../environment/environment.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** The one place in this folder that reaches the network. */
export const realFetch: Fetch = (url, init) => fetch(url, init);

export interface ModelCallLimits {
  /** The first attempt counts. */
  readonly attemptsMax: number;
  /** No attempt begins later than this after the first. */
  readonly retryMillisecondsMax: number;
  /** A provider that asks to wait longer is not waited for. */
  readonly retryWaitMillisecondsMax: number;
  /** Until the status and the headers. A local server may first have to load its model. */
  readonly firstByteMillisecondsMax: number;
  /** Between two pieces of the answer. Node's `fetch` itself gives up after 300 seconds. */
  readonly silenceMillisecondsMax: number;
  /** The whole call: a provider may send keep-alives for ever. */
  readonly callMillisecondsMax: number;
  /** For the usage and the end of the connection, after the provider has said that it is finished. */
  readonly afterFinishMillisecondsMax: number;
  readonly responseBytesMax: number;
  readonly eventCharactersMax: number;
}

export const defaultModelCallLimits: ModelCallLimits = {
  attemptsMax: 4,
  retryMillisecondsMax: 120_000,
  retryWaitMillisecondsMax: 60_000,
  firstByteMillisecondsMax: 240_000,
  silenceMillisecondsMax: 240_000,
  callMillisecondsMax: 1_800_000,
  afterFinishMillisecondsMax: 5_000,
  responseBytesMax: 64 * 1024 * 1024,
  eventCharactersMax: 16 * 1024 * 1024,
};

export interface HttpPort {
  readonly environment: Environment;
  readonly fetch: Fetch;
  readonly limits: ModelCallLimits;
}
