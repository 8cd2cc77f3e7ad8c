/**
 * Whether a client is from before SDK 1.0. Those get relationships filled in and whole agents back, where later ones
 * ask for what they need with `include=`. The rule is V1's own (`letta-api.md` 3.1).
 */
export function isLegacyClient(headers: Headers): boolean {
  if (headers.has("x-stainless-package-version")) return false;
  const userAgent = headers.get("user-agent");
  if (userAgent === null || userAgent === "") return false;
  const version = /^(?:@letta-ai\/)?letta-client\/(\d+)\./.exec(userAgent)?.[1];
  return version === undefined || Number(version) < 1;
}

/**
 * letta-code before 0.30 takes `before` for older and `after` for newer in every list of messages, as V1 did. In a
 * conversation's list, newest first, the official SDKs mean the opposite: `after` is further along the list.
 */
export function pagesByTime(headers: Headers): boolean {
  const minor = /^letta-code\/0\.(\d+)\./.exec(headers.get("user-agent") ?? "")?.[1];
  return minor !== undefined && Number(minor) < 30;
}
