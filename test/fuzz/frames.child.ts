/** The node that is attacked. Says its address, and how much memory it has whenever it is asked. */
import { TcpTransport } from "../../src/cluster/tcp-transport.ts";
import { testEnvironment as environment, testIdentity } from "../../src/cluster/testing.ts";
import { TestHandler } from "../../src/cluster/transport.contract.ts";

class FuzzHandler extends TestHandler {
  override async request(...parameters: Parameters<TestHandler["request"]>): Promise<unknown> {
    const [method, body, context] = parameters;
    this.calls.length = 0;
    if (method === "wait") await new Promise<void>((resolve) => context.signal.addEventListener("abort", () => resolve()));
    return method === "wait" ? body : await super.request(...parameters);
  }
}

const transport = new TcpTransport({
  ...testIdentity,
  environment,
  node: "target",
  secret: testIdentity.secret!,
  host: "127.0.0.1",
  port: 0,
});
const address = await transport.listen(new FuzzHandler());
process.on("message", () => {
  globalThis.gc?.();
  process.send!({ rss: process.memoryUsage.rss() });
});
process.on("disconnect", () => process.exit(0));
process.send!({ address });
