/** A node whose requests never end, for a test that kills it. Prints its address. */
import { TcpTransport } from "./tcp-transport.ts";
import { testEnvironment as environment, testIdentity } from "./testing.ts";

const transport = new TcpTransport({
  ...testIdentity,
  environment,
  node: "child",
  secret: testIdentity.secret!,
  host: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
});
const address = await transport.listen({
  request: (method) => {
    if (method === "ping") return Promise.resolve("pong");
    console.log("handling");
    return new Promise(() => {});
  },
  async *stream() {},
});
console.log(address);
