import type { NodeAddress } from "./transport.ts";

/** `host:port`, with brackets around a host that has colons itself. @throws {TypeError} */
export function parseAddress(address: NodeAddress): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port >= 1 && port <= 65_535))
    throw new TypeError(
      `${JSON.stringify(address.slice(0, 100))} is no address of a node: host:port, such as 10.0.0.7:8290 or [fd00::7]:8290`,
    );
  return { host, port };
}

export function formatAddress({ host, port }: { readonly host: string; readonly port: number }): NodeAddress {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
