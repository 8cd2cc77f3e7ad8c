/**
 * What the store keeps and must not show: sealed by a key that is not in it, so that a copy of the store alone says nothing.
 *
 * K1. A sealed value opens only under the name that it was sealed for: moved to another row, it is damaged.
 * K2. Every value has a nonce of its own. AES-256-GCM takes about 2^32 chance ones under one key.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import type { Random } from "../environment/environment.ts";

/** Characters of the secret that a key is made from. */
export const sealingSecretLengthMin = 16;

const cipher = "aes-256-gcm";
/** The first byte of a sealed value, which says how it is made. */
const format = 1;
const nonceBytes = 12;
const tagBytes = 16;

/** A value was sealed by another key, for another name, or is damaged. */
export class SealError extends Error {
  override readonly name = "SealError";
}

export class SealingKey {
  /** Tells keys apart, and says nothing of them. */
  readonly id: string;
  readonly #key: Uint8Array;
  readonly #random: Random;

  /** @throws {SealError} The secret is too short. */
  constructor(secret: string | Uint8Array, random: Random) {
    if (secret.length < sealingSecretLengthMin)
      throw new SealError(`The secret that values are sealed with has at least ${sealingSecretLengthMin} characters`);
    this.#key = new Uint8Array(hkdfSync("sha256", secret, "", "kelpie sealed values", 32));
    this.id = Buffer.from(hkdfSync("sha256", secret, "", "kelpie id of a sealing key", 12)).toString("base64url");
    this.#random = random;
  }

  /** As base64url. `name` is no secret: what the value is, and where it is kept. */
  seal(text: string, name: string): string {
    const nonce = this.#random.bytes(nonceBytes);
    const sealing = createCipheriv(cipher, this.#key, nonce).setAAD(Buffer.from(name));
    const sealed = Buffer.concat([sealing.update(text, "utf8"), sealing.final()]);
    return Buffer.concat([Buffer.of(format), nonce, sealing.getAuthTag(), sealed]).toString("base64url");
  }

  /** @throws {SealError} */
  open(sealed: string, name: string): string {
    const bytes = Buffer.from(sealed, "base64url");
    const [nonceEnd, tagEnd] = [1 + nonceBytes, 1 + nonceBytes + tagBytes];
    if (bytes[0] !== format || bytes.length < tagEnd) throw new SealError(`The sealed value ${name} is none of this version`);
    try {
      const opening = createDecipheriv(cipher, this.#key, bytes.subarray(1, nonceEnd), { authTagLength: tagBytes })
        .setAAD(Buffer.from(name))
        .setAuthTag(bytes.subarray(nonceEnd, tagEnd));
      return Buffer.concat([opening.update(bytes.subarray(tagEnd)), opening.final()]).toString("utf8");
    } catch (error) {
      throw new SealError(
        `The sealed value ${name} was sealed with another key, or is damaged: start Kelpie with the key of then (KELPIE_SEALING_KEY, or the file sealing-key beside the store file), or give the value again`,
        { cause: error },
      );
    }
  }
}
