import { ActorMessageError } from "../actors/actor.ts";
import type { CallContext, CallHandler, Wire } from "./transport.ts";

export type RequestHandler = (body: Wire, context: CallContext) => Promise<Wire>;
export type StreamHandler = (body: Wire, context: CallContext) => AsyncIterable<Wire>;

/** The calls that a node answers, by method: each part of it adds its own. */
export class CallTable implements CallHandler {
  readonly #requests = new Map<string, RequestHandler>();
  readonly #streams = new Map<string, StreamHandler>();

  onRequest(method: string, handler: RequestHandler): void {
    this.#requests.set(method, handler);
  }

  onStream(method: string, handler: StreamHandler): void {
    this.#streams.set(method, handler);
  }

  async request(method: string, body: Wire, context: CallContext): Promise<Wire> {
    return await known(method, this.#requests)(body, context);
  }

  stream(method: string, body: Wire, context: CallContext): AsyncIterable<Wire> {
    return known(method, this.#streams)(body, context);
  }
}

/** @throws {ActorMessageError} */
function known<T>(method: string, handlers: ReadonlyMap<string, T>): T {
  const handler = handlers.get(method);
  if (handler === undefined)
    throw new ActorMessageError(`This node answers no call ${JSON.stringify(method.slice(0, 100))}: it is of another version`);
  return handler;
}
