/** A wire between a client and a server that can be cut at the worst moment: a TCP proxy for tests. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/**
 * What happens to a message of the client and its answer.
 *
 * - `pass`: both arrive.
 * - `lose request`: the connection breaks before the message reaches the server.
 * - `lose answer`: the server works, the answer does not arrive.
 * - `late request`: the connection breaks for the client; the message reaches the server when `deliverLate` is called.
 */
export type Fate = "pass" | "lose request" | "lose answer" | "late request";

export class Wire implements AsyncDisposable {
  readonly port: number;
  readonly #listener: Server;
  readonly #fateOf: (message: Buffer) => Fate;
  readonly #sockets = new Set<Socket>();
  readonly #late: { readonly server: Socket; readonly message: Buffer }[] = [];
  cuts = 0;

  private constructor(listener: Server, port: number, fateOf: (message: Buffer) => Fate) {
    this.#listener = listener;
    this.port = port;
    this.#fateOf = fateOf;
  }

  /** `fateOf` is asked about everything that a client sends. */
  static async to(serverPort: number, fateOf: (message: Buffer) => Fate): Promise<Wire> {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const address = listener.address();
    if (address === null || typeof address === "string") throw new Error("The system gave no port");
    const wire = new Wire(listener, address.port, fateOf);
    listener.on("connection", (client) => wire.#join(client, connect(serverPort, "127.0.0.1")));
    return wire;
  }

  /** Late messages reach the server now. Resolves when it has answered each. */
  async deliverLate(): Promise<number> {
    const late = this.#late.splice(0);
    for (const { server, message } of late) {
      server.write(message);
      await once(server, "data");
      server.destroy();
    }
    return late.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#listener, "close");
  }

  #join(client: Socket, server: Socket): void {
    let fate: Fate = "pass";
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => this.#sockets.delete(socket));
    }
    client.on("data", (message) => {
      if (fate === "pass") fate = this.#fateOf(message);
      if (fate === "lose request") this.#cut(client, server);
      else if (fate === "late request") {
        this.cuts++;
        this.#late.push({ server, message });
        client.destroy();
      } else server.write(message);
    });
    server.on("data", (answer) => {
      if (fate === "lose answer") this.#cut(client, server);
      else client.write(answer);
    });
    client.on("close", () => {
      // The server notices only when it has worked and wants to answer, as with a client whose machine is gone.
      if (fate === "pass") server.end();
    });
    server.on("close", () => client.destroy());
  }

  #cut(client: Socket, server: Socket): void {
    if (client.destroyed) return;
    this.cuts++;
    client.destroy();
    server.destroy();
  }
}
