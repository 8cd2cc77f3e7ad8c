import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryNetwork, MemoryTransport } from "./memory-transport.ts";
import { TcpTransport } from "./tcp-transport.ts";
import { describeTransport } from "./transport.contract.ts";

const environment = new RealEnvironment({ level: "error" });
const identity = { environment, cluster: "test", secret: Buffer.from("a secret of the cluster") };

describeTransport("MemoryTransport", async () => {
  const network = new MemoryNetwork();
  return {
    node: (node, settings) => new MemoryTransport({ ...identity, node, network, ...settings }),
    [Symbol.asyncDispose]: async () => {},
  };
});

describeTransport("TcpTransport", async () => ({
  node: (node, settings) => new TcpTransport({ ...identity, node, host: "127.0.0.1", port: 0, ...settings }),
  [Symbol.asyncDispose]: async () => {},
}));
