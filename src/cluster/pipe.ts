/** Connections as the frame transport needs them: ordered bytes both ways, over TCP or through a simulated network. */
import type { NodeAddress } from "./transport.ts";

/** One end of a connection. */
export interface Pipe {
  /** Where the other end is, for logs. */
  readonly remote: string;
  /** Unique to this connection if it is encrypted, and known only to its two ends; otherwise empty. */
  readonly binding: Uint8Array;
  /** Why the peer's certificate is not good enough, if it is not. */
  readonly certificateFault: string | undefined;
  /** Takes all of `bytes`. False: no more, please, before `PipeEvents.drained`. */
  write(bytes: Buffer): boolean;
  /** Calls `callback` when what happens now has happened. */
  soon(callback: () => void): void;
  /** Closes it after what was written has left, or a second later. */
  end(): void;
  destroy(): void;
}

/** What happens to one end. */
export interface PipeEvents {
  received(bytes: Buffer): void;
  drained(): void;
  /** Once, and then nothing more. Without an error where the other end closed it in good order. */
  closed(error: Error | undefined): void;
}

/** Where pipes come from. */
export interface Pipes extends AsyncDisposable {
  /** Gives `open` the pipe when it is there; gives up when `signal` aborts. @throws {NodeUnreachableError} @throws {HandshakeError} The other end has no acceptable certificate. */
  dial(address: NodeAddress, open: (pipe: Pipe) => PipeEvents, signal: AbortSignal): Promise<void>;
  /** Gives `accept` each pipe that another node opens. */
  listen(accept: (pipe: Pipe) => PipeEvents): Promise<NodeAddress>;
  /** Takes no new pipes; those that are open stay. */
  stopListening(): void;
}
