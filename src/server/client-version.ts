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
