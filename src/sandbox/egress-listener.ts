/** Run in a sandbox's network: makes the socket that leads to the egress proxy, hands it to its parent, and ends. */
import { createServer } from "node:net";

const server = createServer();
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 128 }, () => {
  process.send!("listening", server, () => process.disconnect());
});
process.once("disconnect", () => server.close());
