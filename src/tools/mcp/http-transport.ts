/** Streamable HTTP, in which a request whose stream ends without an answer is over at once, not when its time is up. */
import { type JSONRPCMessage, ProtocolError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

type SendOptions = Parameters<StreamableHTTPClientTransport["send"]>[1];

/** Of the errors that the protocol leaves to implementations. */
const streamEndedCode = -32_090;

export class HttpTransport extends StreamableHTTPClientTransport {
  override async send(message: JSONRPCMessage, options?: SendOptions): Promise<void> {
    const isRequest = "method" in message && "id" in message;
    // Whoever asks to be told, as for a subscription, knows what to do.
    if (!isRequest || options?.onRequestStreamEnd !== undefined) return await super.send(message, options);
    const error = { code: streamEndedCode, message: "The stream ended without an answer" };
    // After an answer this one is for nobody.
    const onRequestStreamEnd = (): void => this.onmessage?.({ jsonrpc: "2.0", id: message.id, error });
    await super.send(message, { ...options, onRequestStreamEnd });
  }
}

/** Whether a request ended like that. */
export function isStreamEnded(error: unknown): boolean {
  return error instanceof ProtocolError && error.code === streamEndedCode;
}
