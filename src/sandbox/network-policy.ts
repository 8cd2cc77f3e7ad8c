/** What a sandbox may reach, and which secrets the egress proxy inserts on the way: pure rules, checked before use. */
import { BlockList, isIP, isIPv6 } from "node:net";
import { SandboxInputError } from "./sandbox.ts";

export interface NetworkPolicy {
  readonly allow: readonly HostRule[];
  readonly secrets?: readonly EdgeSecret[];
  /** Of all connections, in both directions, for as long as the sandbox lives. */
  readonly bytesMax?: number;
  readonly connectionsMax?: number;
}

export interface HostRule {
  /** A host's name, an address, or `*.` and a domain: every name below it, the domain itself not. */
  readonly host: string;
  /** By default 443, and 80. */
  readonly ports?: readonly number[];
  /** Requests to `http://host/` go on over TLS to port 443: so a program that speaks HTTP gets secrets inserted. */
  readonly upgrade?: boolean;
  /** Also where the name leads to this host's or a private network's addresses. */
  readonly privateAddresses?: boolean;
}

/**
 * A secret that never enters the sandbox: its commands hold the placeholder and put it into headers of HTTP requests, and
 * the proxy replaces it on requests to these hosts. What such a host sends back is not searched for it.
 */
export interface EdgeSecret {
  readonly placeholder: string;
  readonly value: string;
  /** Names as in rules; each must be allowed by a rule. */
  readonly hosts: readonly string[];
}

type NetworkLimit = "rules" | "secrets" | "placeholderBytesMin" | "secretBytes" | "bytes" | "connections";

export const networkLimits: Readonly<Record<NetworkLimit, number>> = {
  rules: 1_000,
  secrets: 100,
  placeholderBytesMin: 8,
  secretBytes: 16_384,
  bytes: 10 * 2 ** 30,
  connections: 64,
};

const hostPattern = /^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/;

/** @throws {SandboxInputError} */
export function checkPolicy({ allow, secrets = [], bytesMax, connectionsMax }: NetworkPolicy): void {
  const refuse = (what: string): never => {
    throw new SandboxInputError(`Cannot use the network policy: ${what}`);
  };
  if (allow.length > networkLimits.rules) refuse(`it has ${allow.length} rules, and at most ${networkLimits.rules} may be`);
  if (secrets.length > networkLimits.secrets) refuse(`it has ${secrets.length} secrets, and at most ${networkLimits.secrets} may be`);
  for (const { host, ports = [] } of allow) {
    if (host.length > 253 || !(hostPattern.test(host) || isIPv6(host)))
      refuse(`${JSON.stringify(host.slice(0, 100))} is no host: a name in small letters, an address, or *. and a domain`);
    for (const port of ports) if (!Number.isInteger(port) || port < 1 || port > 65_535) refuse(`${host} has the port ${port}`);
  }
  for (const { placeholder, value, hosts } of secrets) {
    if (!/^[\w.-]+$/.test(placeholder) || placeholder.length < networkLimits.placeholderBytesMin)
      refuse(`a placeholder has ${networkLimits.placeholderBytesMin} or more letters, digits, "-", "_" and "."`);
    if (value.length > networkLimits.secretBytes || !/^[\x20-\x7e]*$/.test(value))
      refuse(`the secret of ${placeholder} is no header: at most ${networkLimits.secretBytes} printable characters of ASCII`);
    for (const host of hosts)
      if (!allow.some((rule) => rule.host === host)) refuse(`the secret of ${placeholder} is for ${host}, which no rule allows`);
  }
  for (const [name, count] of [["bytesMax", bytesMax] as const, ["connectionsMax", connectionsMax] as const])
    if (count !== undefined && (!Number.isSafeInteger(count) || count < 1)) refuse(`${name} is ${count}, and must be 1 or more`);
}

/** In the form that rules have: small letters, no dot at the end, no brackets. */
export function normalHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

export function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  return isIP(host) === 0 && host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1;
}

/**
 * What is not the public internet (IANA's special-purpose registries): this host, private networks, link-local addresses
 * with the clouds' metadata services among them, multicast, and the ways to write an IPv4 address as an IPv6 one.
 */
const notPublic = new BlockList();
for (const [network, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const)
  notPublic.addSubnet(network, bits, "ipv4");

/** Of IPv6 only 2000::/3 is handed out; of that, not what stands for IPv4 addresses or for documents. */
const publicIpv6 = new BlockList();
publicIpv6.addSubnet("2000::", 3, "ipv6");
for (const [network, bits] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const)
  notPublic.addSubnet(network, bits, "ipv6");

export function isPublicAddress(address: string): boolean {
  const kind = isIP(address);
  if (kind === 0 || address.includes("%")) return false;
  if (kind === 4) return !notPublic.check(address, "ipv4");
  return publicIpv6.check(address, "ipv6") && !notPublic.check(address, "ipv6");
}
