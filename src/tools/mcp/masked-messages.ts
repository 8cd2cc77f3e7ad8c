import type { Transport } from "@modelcontextprotocol/client";
import type { SecretMask } from "../../base/secret-mask.ts";

/** Masks all that a server sends before anybody reads it (P5): results, errors, what it says of its tools, what it asks. */
export function maskMessages(transport: Transport, mask: () => SecretMask): void {
  let read: Transport["onmessage"];
  const readMasked: typeof read = (message, extra) => {
    let masked: typeof message;
    try {
      masked = mask().applyToTexts(message);
    } catch (error) {
      // It nests too deep.
      return transport.onerror?.(error as Error);
    }
    read?.(masked, extra);
  };
  Object.defineProperty(transport, "onmessage", {
    get: () => read && readMasked,
    set(next: typeof read) {
      read = next;
    },
  });
}
