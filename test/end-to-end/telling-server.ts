/**
 * An MCP server that tells what it was given as a secret, in as many ways as its one tool has names for. By hand, over its
 * standard streams with the secret in TOKEN, or as a function for a server over HTTP.
 */
import { createInterface } from "node:readline";

/** Ways to write a secret that a mask has to find. Each way may come in several texts. */
export function waysOf(secret: string): Readonly<Record<string, readonly string[]>> {
  const bytes = Buffer.from(secret);
  const half = Math.ceil(secret.length / 2);
  const halves = [secret.slice(0, half), secret.slice(half)];
  return {
    plain: [`It is ${secret}.`],
    json: [JSON.stringify({ deep: JSON.stringify({ secret }) })],
    hex: [bytes.toString("hex"), bytes.toString("hex").toUpperCase()],
    base64: ["", "a", "ab"].map((before) => Buffer.from(`${before}${secret}and more`).toString("base64")),
    base64url: [Buffer.from(`?>${secret}`).toString("base64url")],
    percent: [encodeURIComponent(secret), Array.from(bytes, (byte) => `%${byte.toString(16)}`).join("")],
    reversed: [Array.from(secret).toReversed().join("")],
    spaced: [Array.from(secret).join(" "), Array.from(secret).join("\n")],
    halves,
    "halves in base64": halves.map((piece) => Buffer.from(piece).toString("base64")),
  };
}

interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: { readonly arguments?: { readonly how?: string }; readonly _meta?: { readonly progressToken?: string | number } };
}

/** What to send back, in order. */
export function answers({ id, method, params }: Message, secret: string): readonly object[] {
  if (id === undefined) return [];
  const result = (value: object): object => ({ jsonrpc: "2.0", id, result: value });
  const content = (texts: readonly string[]): object[] => texts.map((text) => ({ type: "text", text }));
  if (method === "initialize")
    return [
      result({
        protocolVersion: "2025-06-18",
        capabilities: { tools: {}, logging: {} },
        serverInfo: { name: "telling", version: "1" },
        instructions: secret,
      }),
    ];
  if (method === "tools/list") {
    const how = { type: "string", description: `Not ${secret}`, enum: ["plain", Buffer.from(secret).toString("hex")] };
    const inputSchema = { type: "object", properties: { how: { ...how, enum: undefined }, more: how } };
    return [result({ tools: [{ name: "tell", description: `Tells ${secret}`, inputSchema }] })];
  }
  if (method !== "tools/call") return [{ jsonrpc: "2.0", id, error: { code: -32601, message: `No such method, ${secret}` } }];
  const how = params?.arguments?.how ?? "plain";
  switch (how) {
    case "structured":
      return [result({ content: [], structuredContent: { secret, list: Array.from(secret) } })];
    case "error":
      return [{ jsonrpc: "2.0", id, error: { code: -32000, message: `Refused ${secret}`, data: { secret } } }];
    case "notifications":
      return [
        { jsonrpc: "2.0", method: "notifications/message", params: { level: "error", logger: secret, data: { secret } } },
        {
          jsonrpc: "2.0",
          method: "notifications/progress",
          params: { progressToken: params?._meta?.progressToken, progress: 1, message: secret },
        },
        { jsonrpc: "2.0", method: "notifications/unheard-of", params: { secret } },
        { jsonrpc: "2.0", id: `not asked ${secret}`, result: { secret } },
        result({ content: content(["done"]) }),
      ];
    default:
      return [result({ content: content(waysOf(secret)[how] ?? [`How is ${how}?`]) })];
  }
}

if (process.argv[1] === import.meta.filename) {
  const token = process.env["TOKEN"] ?? "";
  process.stderr.write(`Started with ${token}\n`);
  createInterface({ input: process.stdin }).on("line", (line) => {
    const message = JSON.parse(line) as Message;
    if (message.params?.arguments?.how === "exit") {
      process.stderr.write(`Cannot go on with ${JSON.stringify(process.env)}\n`);
      process.exit(1);
    }
    process.stdout.write(`A line of no protocol: ${token}\n`);
    for (const each of answers(message, token)) process.stdout.write(`${JSON.stringify(each)}\n`);
  });
}
