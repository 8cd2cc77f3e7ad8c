/** What of a server's configuration is secret: sealed in its row (P4), and masked in what the server says (P5). */
import { secretMask } from "../../base/secret-mask.ts";
import { type FindSealingKey, openSecret, sealSecret, type StoredSecret } from "../../storage/stored-secret.ts";
import type { McpServerConfig } from "./mcp.ts";

/** As a row keeps it. */
export type StoredMcpConfig = McpServerConfig<StoredSecret>;

interface Owner {
  readonly project: string;
  readonly id: string;
}

/** What is sealed already stays so. @throws {SealError} There is no key, and there are secrets. */
export function sealConfig(findKey: FindSealingKey, owner: Owner, config: StoredMcpConfig): StoredMcpConfig {
  return mapSecrets<StoredSecret, StoredSecret>(config, (value, field) => {
    const isKept = typeof value !== "string" || (field === "server_url" && lookIntoUrl(value).secrets.length === 0);
    return isKept ? value : sealSecret(findKey, value, nameOf(owner, field));
  });
}

/** @throws {SealError} */
export function openConfig(findKey: FindSealingKey, owner: Owner, config: StoredMcpConfig): McpServerConfig {
  return mapSecrets(config, (value, field) => openSecret(findKey, value, nameOf(owner, field)));
}

/** As it is shown: with `secretMask` in place of each value, and of the secrets in its address. @throws {SealError} */
export function hideSecrets(findKey: FindSealingKey, owner: Owner, config: StoredMcpConfig): McpServerConfig {
  return mapSecrets(config, (value, field) =>
    field === "server_url" ? lookIntoUrl(openSecret(findKey, value, nameOf(owner, field))).hidden : secretMask,
  );
}

/** What to mask in what the server says. Of variables and headers not those that plainly are no secrets, such as paths. */
export function secretsOf(config: McpServerConfig): string[] {
  const secrets: string[] = [];
  mapSecrets(config, (value, field) => {
    const inUrl = lookIntoUrl(value).secrets;
    const whole = field === "server_url" ? "" : withoutScheme(value);
    if (isSecret(field, whole) || inUrl.length > 0) secrets.push(whole, ...inUrl);
    return value;
  });
  return secrets.filter((secret) => secret !== "");
}

/** `field`: its place in the configuration, such as `env.TOKEN`. */
function mapSecrets<From, To>(config: McpServerConfig<From>, map: (value: From, field: string) => To): McpServerConfig<To> {
  const mapAll = (values: Readonly<Record<string, From>>, place: string): Record<string, To> =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value, `${place}.${name}`)]));
  if (config.mcp_server_type === "stdio") {
    const { env, ...rest } = config;
    return { ...rest, ...(env == null ? {} : { env: mapAll(env, "env") }) };
  }
  const { server_url, auth_token, custom_headers, oauth_client, ...rest } = config;
  const { client_id, client_secret } = oauth_client ?? {};
  const mapped = client_secret == null ? {} : { client_secret: map(client_secret, "oauth_client.client_secret") };
  return {
    ...rest,
    server_url: map(server_url, "server_url"),
    ...(auth_token == null || auth_token === "" ? {} : { auth_token: map(auth_token, "auth_token") }),
    ...(custom_headers == null ? {} : { custom_headers: mapAll(custom_headers, "custom_headers") }),
    ...(client_id === undefined ? {} : { oauth_client: { client_id, ...mapped } }),
  };
}

function nameOf({ project, id }: Owner, field: string): string {
  return `${project}/mcp_server/${id}/${field}`;
}

function isSecret(field: string, value: string): boolean {
  if (/key|token|secret|pass|pwd|auth|credential|cookie|session|private/i.test(field)) return true;
  const isWords = /^[a-z]+([ _.,/-][a-z]+)*$/i.test(value);
  const isNumber = /^[\d.:-]*$/.test(value);
  const isPlace = /^(~|\.{1,2}|[a-z]:)?[\\/]|^[a-z]+:\/\//i.test(value);
  return !isWords && !isNumber && !isPlace;
}

/** `Bearer` and the like are said by everybody. */
function withoutScheme(value: string): string {
  return value.replace(/^(bearer|basic|token) +/i, "");
}

/** The password of an address, what its query gives a name of secrets, and a part of its path that only chance makes. */
function lookIntoUrl(text: string): { readonly secrets: readonly string[]; readonly hidden: string } {
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) return { secrets: [], hidden: text };
  const secrets: string[] = [];
  if (url.password !== "") {
    secrets.push(decodeURIComponent(url.password));
    url.password = secretMask;
  }
  const query = Array.from(url.searchParams);
  for (const [name, value] of query) {
    if (value === "" || !isSecret(name, value)) continue;
    secrets.push(value);
    url.searchParams.set(name, secretMask);
  }
  for (const part of url.pathname.split("/")) {
    if (part.length < 24 || !/\d/.test(part) || !/[a-z]/i.test(part)) continue;
    secrets.push(part);
    url.pathname = url.pathname.replace(part, secretMask);
  }
  return { secrets, hidden: secrets.length === 0 ? text : url.href };
}
