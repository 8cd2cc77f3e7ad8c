/** Reads the body of a request as JSON, with every limit enforced before anything looks at the value. */
import type { HttpError } from "./http-error.ts";
import { show, tooLarge, unprocessable } from "./http-error.ts";
import { jsonErrorPosition } from "./json-syntax.ts";

/** Room for a long conversation with a few images in it. */
export const bodyBytesMax: number = 50 * 1024 * 1024;

/** How deep arrays and objects may nest. JSON Schemas of tools reach about 30. */
export const bodyDepthMax = 100;

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * The JSON value of the body, or `undefined` when there is none. The content type does not matter: V1's clients
 * send JSON under several.
 *
 * @throws {HttpError} 413 over `bytesMax`; 422 for what is not UTF-8, not JSON, too deep, or has lone surrogates.
 */
export async function readJsonBody(request: Request, bytesMax: number = bodyBytesMax): Promise<unknown> {
  const bytes = await readBody(request, bytesMax);
  if (bytes.byteLength === 0) return undefined;
  return parseJsonBody(bytes);
}

/** @throws {HttpError} 422 */
export function parseJsonBody(bytes: ArrayBuffer | Uint8Array): unknown {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw unprocessable("body: expected UTF-8, received bytes that are not valid UTF-8");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const position = jsonErrorPosition(text);
    throw unprocessable(
      `body: expected JSON, received text that stops being JSON at character ${position}: ${show(text.slice(Math.max(0, position - 20), position + 20))}`,
    );
  }
  checkJson(value, "body");
  return value;
}

/** @throws {HttpError} 413 */
export async function readBody(request: Request, bytesMax: number): Promise<ArrayBuffer | Uint8Array> {
  const declared = request.headers.get("content-length");
  // The HTTP server holds the sender to a declared length, so only an undeclared one is counted here.
  if (declared !== null) {
    if (Number(declared) > bytesMax) throw bodyTooLarge(bytesMax);
    const bytes = await request.arrayBuffer();
    if (bytes.byteLength > bytesMax) throw bodyTooLarge(bytesMax);
    return bytes;
  }
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body) {
    total += chunk.byteLength;
    if (total > bytesMax) throw bodyTooLarge(bytesMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export function bodyTooLarge(bytesMax: number): HttpError {
  return tooLarge(`The body has at most ${bytesMax} bytes. Send less at once`);
}

/**
 * Refuses what could not be stored or shown again as it is. Without recursion, so that no input exhausts the stack.
 *
 * @throws {HttpError} 422
 */
export function checkJson(root: unknown, name: string): void {
  const pending: { readonly value: unknown; readonly path: string; readonly depth: number }[] = [{ value: root, path: name, depth: 0 }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, path, depth } = next;
    if (typeof value === "string") checkText(value, path);
    if (typeof value !== "object" || value === null) continue;
    if (depth >= bodyDepthMax)
      throw unprocessable(`${name}: expected at most ${bodyDepthMax} levels of arrays and objects, received more at ${path.slice(0, 60)}…`);
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries())
        if (typeof item === "string" || typeof item === "object")
          pending.push({ value: item, path: `${path}[${index}]`, depth: depth + 1 });
      continue;
    }
    for (const [field, item] of Object.entries(value)) {
      if (!field.isWellFormed()) checkText(field, path);
      if (typeof item === "string" || typeof item === "object") pending.push({ value: item, path: `${path}.${field}`, depth: depth + 1 });
    }
  }
}

function checkText(text: string, path: string): void {
  if (!text.isWellFormed())
    throw unprocessable(`${path}: expected Unicode text, received a lone surrogate (half of a character) in ${show(text)}`);
}
