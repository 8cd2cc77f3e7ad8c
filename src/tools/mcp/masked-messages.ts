import type { Transport } from "@modelcontextprotocol/client";
import type { SecretMask } from "../../base/secret-mask.ts";

type Read = Transport["onmessage"];

/** Masks all that a server sends before anybody reads it (P5): results, errors, what it says of its tools, what it asks. */
export function maskMessages(transport: Transport, mask: () => SecretMask): void {
  const masking = (read: NonNullable<Read>): Read => {
    return (message, extra) => {
      let masked: typeof message;
      try {
        masked = mask().applyToTexts(message);
      } catch (error) {
        // It nests too deep.
        return transport.onerror?.(error as Error);
      }
      read(masked, extra);
    };
  };
  let current: Read;
  Object.defineProperty(transport, "onmessage", {
    get: () => current,
    set(next: Read) {
      current = next && masking(next);
    },
  });
}
