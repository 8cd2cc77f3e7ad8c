/** One call from one node to another, two ways: frames and HTTP/2. Both carry the same bytes of the same value. */
import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { RealEnvironment } from "../../../src/environment/real-environment.ts";
import { TcpTransport } from "../../../src/cluster/tcp-transport.ts";
import type { CallHandler } from "../../../src/cluster/transport.ts";
import { decodeWire, encodeWire } from "../../../src/cluster/wire.ts";

export type Way = "frames" | "http2";

const bodyBytesMax = 1_048_576;
const timeoutMilliseconds = 30_000;

export interface Message {
  readonly project: string;
  readonly type: string;
  readonly key: string;
  readonly message: { readonly text: string };
}

/** About 1 KB on the wire. */
export const message: Message = { project: "default", type: "counter", key: "counter-12345", message: { text: "a".repeat(950) } };

export function makeTransport(node: string): TcpTransport {
  const environment = new RealEnvironment({ level: "error" });
  return new TcpTransport({ environment, node, cluster: "bench", secret: Buffer.from("only for this bench"), host: "127.0.0.1", port: 0 });
}

const echo: CallHandler = {
  request: async (_method, body) => body,
  async *stream() {},
};

export async function serveFrames(): Promise<string> {
  return await makeTransport("server").listen(echo);
}

export async function serveHttp2(): Promise<string> {
  const server = http2.createServer({ settings: { maxConcurrentStreams: 1_000 } });
  server.on("stream", (stream) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => {
      const body = decodeWire(Buffer.concat(parts));
      stream.respond({ ":status": 200 });
      stream.end(encodeWire(body, bodyBytesMax));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Makes the call once, and checks that the answer is the message. */
export type Forward = () => Promise<void>;

export function forwardByFrames(address: string): Forward {
  const transport = makeTransport("client");
  return async () => check(await transport.request(address, "invoke", message, { timeoutMilliseconds }));
}

export function forwardByHttp2(url: string): Forward {
  const session = http2.connect(url);
  return () =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ":method": "POST", ":path": "/invoke" });
      stream.setTimeout(timeoutMilliseconds, () => stream.close());
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => {
        check(decodeWire(Buffer.concat(parts)));
        resolve();
      });
      stream.on("error", reject);
      stream.end(encodeWire(message, bodyBytesMax));
    });
}

function check(answer: unknown): void {
  if ((answer as Message).message.text.length !== message.message.text.length) throw new Error("The answer is not the message");
}
