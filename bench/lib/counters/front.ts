/** The bare `node:http` server that stands before everything Kelpie is compared with: the same path, body and reply. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const path = /^\/v1\/actors\/counter\/([^/]+)\/add$/;

export async function serveCounters(add: (key: string, by: number) => Promise<number>): Promise<{ readonly port: number; close(): void }> {
  const server: Server = createServer((request, response) => {
    const key = path.exec(request.url ?? "")?.[1];
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => (body += text));
    request.on("end", () => {
      const answer = (status: number, value: unknown): void => {
        const text = JSON.stringify(value);
        response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
      };
      if (key === undefined) return answer(404, { detail: "Not found" });
      const { by } = JSON.parse(body) as { by: number };
      add(key, by).then(
        (value) => answer(200, value),
        (error: unknown) => answer(500, { detail: String(error) }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
