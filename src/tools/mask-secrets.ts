import { SecretMask } from "../base/secret-mask.ts";
import type { ToolResult } from "./tool.ts";

type Secrets = { readonly [name: string]: string };

/** Made once for all calls that are given the same secrets. */
const masks = new WeakMap<Secrets, SecretMask>();

const none: Secrets = {};

/** What takes secrets, by the names of their variables, out of what a tool gave and what its code leaves behind. */
export function maskOf(secrets: Secrets = none): SecretMask {
  let mask = masks.get(secrets);
  if (mask === undefined) masks.set(secrets, (mask = new SecretMask(Object.values(secrets))));
  return mask;
}

export function maskResult(secrets: Secrets, result: ToolResult): ToolResult {
  const mask = maskOf(secrets);
  const { text, stdout, stderr } = result;
  return {
    ...result,
    text: mask.apply(text),
    ...(stdout === undefined ? {} : { stdout: mask.apply(stdout) }),
    ...(stderr === undefined ? {} : { stderr: mask.apply(stderr) }),
  };
}
