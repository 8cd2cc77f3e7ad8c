/**
 * Callers that wait for each reply before they call again, one kept-alive connection each.
 *
 * They write HTTP/1.1 to bare sockets: Node's own HTTP client costs more CPU than the servers that are measured.
 */
import { connect, type Socket } from "node:net";
import { Samples } from "./statistics.ts";

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One connection, one request at a time; answers must carry their length. */
export class HttpCaller {
  readonly #socket: Socket;
  #received = "";
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("The server closed the connection")));
  }

  static async connect(port: number): Promise<HttpCaller> {
    return await new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1" }, () => resolve(new HttpCaller(socket)));
      socket.once("error", reject);
    });
  }

  post(path: string, body: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(text: string): void {
    this.#received += text;
    const head = this.#received.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = /\r\ncontent-length: (\d+)/i.exec(this.#received.slice(0, head))?.[1];
    if (length === undefined) return this.#fail(new Error(`The answer has no length: ${this.#received.slice(0, 200)}`));
    if (this.#received.length < head + 4 + Number(length)) return;
    const answer = { status: Number(this.#received.slice(9, 12)), body: this.#received.slice(head + 4) };
    this.#received = "";
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(answer);
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}

export interface Load {
  /** The callers are shared out over these. */
  readonly ports: readonly number[];
  readonly callers: number;
  readonly milliseconds: number;
}

export interface LoadResult {
  readonly calls: number;
  readonly milliseconds: number;
  /** Of each call, in milliseconds. */
  readonly latencies: Float64Array;
}

/** Runs `load`; `next` gives the path of a call and is told the body of its reply. */
export async function runLoad(
  load: Load,
  next: () => { path: string; body: string; onReply: (body: string) => void },
): Promise<LoadResult> {
  const callers = await Promise.all(
    Array.from({ length: load.callers }, (_, index) => HttpCaller.connect(load.ports[index % load.ports.length]!)),
  );
  const latencies = new Samples();
  const begin = performance.now();
  const end = begin + load.milliseconds;
  const runCaller = async (caller: HttpCaller): Promise<void> => {
    for (let before = performance.now(); before < end;) {
      const { path, body, onReply } = next();
      const answer = await caller.post(path, body);
      if (answer.status !== 200) throw new Error(`POST ${path} was answered with ${answer.status}: ${answer.body.slice(0, 200)}`);
      onReply(answer.body);
      const after = performance.now();
      latencies.add(after - before);
      before = after;
    }
  };
  try {
    await Promise.all(callers.map(runCaller));
  } finally {
    for (const caller of callers) caller.close();
  }
  return { calls: latencies.values.length, milliseconds: performance.now() - begin, latencies: latencies.values.slice() };
}
