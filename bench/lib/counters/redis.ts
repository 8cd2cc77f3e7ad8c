/** Worker: counters in Redis by a Lua script, behind a bare `node:http`. */
import { connect, type Socket } from "node:net";
import { answerQuestions } from "../worker.ts";
import { serveCounters } from "./front.ts";

const script = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

answerQuestions({
  start: async ({ socketPath }: { socketPath: string }): Promise<number> => {
    const redis = await RedisClient.connect(socketPath);
    const digest = String(await redis.command("SCRIPT", "LOAD", script));
    const { port } = await serveCounters(async (key, by) => Number(await redis.command("EVALSHA", digest, "1", key, String(by))));
    return port;
  },
});

/** As much of the protocol as this needs: commands of texts; answers of one line or one text. Commands are pipelined. */
class RedisClient {
  readonly #socket: Socket;
  readonly #waiting: { resolve: (value: string | number) => void; reject: (error: Error) => void }[] = [];
  #received = "";
  #unsent = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#received += text;
      while (this.#readAnswer());
    });
  }

  static async connect(path: string): Promise<RedisClient> {
    return await new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new RedisClient(socket)));
      socket.once("error", reject);
    });
  }

  async command(...words: readonly string[]): Promise<string | number> {
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      // The commands of one turn of the event loop leave in one write.
      if (this.#unsent === "") setImmediate(() => this.#send());
      this.#unsent += `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
    });
  }

  #send(): void {
    this.#socket.write(this.#unsent);
    this.#unsent = "";
  }

  #readAnswer(): boolean {
    const lineEnd = this.#received.indexOf("\r\n");
    if (lineEnd < 0) return false;
    const [kind, line] = [this.#received[0], this.#received.slice(1, lineEnd)];
    let end = lineEnd + 2;
    let value: string | number = kind === ":" ? Number(line) : line;
    if (kind === "$") {
      if (this.#received.length < end + Number(line) + 2) return false;
      value = this.#received.slice(end, end + Number(line));
      end += Number(line) + 2;
    }
    this.#received = this.#received.slice(end);
    const waiting = this.#waiting.shift()!;
    if (kind === "-") waiting.reject(new Error(`Redis: ${line}`));
    else waiting.resolve(value);
    return true;
  }
}
