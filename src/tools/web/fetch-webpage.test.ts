import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { ToolInput, ToolResult } from "../tool.ts";
import { fetchWebpageTool } from "./fetch-webpage.ts";

interface Page {
  readonly type?: string;
  readonly status?: number;
  readonly body: string | Buffer;
}

async function fetchPage(page: Page, input: ToolInput = {}): Promise<ToolResult> {
  const server = createServer((_request, response) => {
    response.writeHead(page.status ?? 200, page.type === undefined ? {} : { "content-type": page.type }).end(page.body);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const host = `site.test:${(server.address() as AddressInfo).port}`;
    const tool = fetchWebpageTool({ lookup: async () => ["127.0.0.1"], privateHosts: [host] });
    const context = { effectId: "e", signal: new AbortController().signal, project: "p", agentId: "a", conversationId: "default" };
    return await tool.execute({ url: `http://${host}/page`, ...input }, context);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

for (const [page, result] of [
  [{ type: "text/html; charset=utf-8", body: "<title>T</title><p>Größe</p>" }, "# T\n\nGröße"],
  [{ type: "text/html", body: Buffer.from('<meta charset="iso-8859-1"><p>Gr\xf6\xdfe</p>', "latin1") }, "Größe"],
  [{ type: 'text/plain; charset="ISO-8859-1"', body: Buffer.from("\xe9", "latin1") }, "é"],
  [{ type: "text/plain; charset=nonsense", body: "é" }, "é"],
  [{ type: "application/ld+json", body: "{}" }, "{}"],
  [{ body: "<!DOCTYPE html><p>x" }, "x"],
  [{ type: "text/html", body: "" }, "[no text]"],
] as const)
  test(`A page of ${JSON.stringify(page.type)} is ${JSON.stringify(result)}`, async () => {
    assert.deepEqual(await fetchPage(page), { status: "success", text: result });
  });

test("What is no text is an error that says what it is", async () => {
  const { status, text } = await fetchPage({ type: "image/png", body: Buffer.alloc(10) });
  assert.deepEqual([status, text], ["error", "The page was not got: it is image/png, of 10 bytes"]);
});

test("A status that is an error is told, with what the page says", async () => {
  const { status, text } = await fetchPage({ type: "text/plain", status: 404, body: "Not here" });
  assert.deepEqual([status, text], ["error", "The server answered with the status 404\n\nNot here"]);
});

test("A long page is read part by part", async () => {
  const page = { type: "text/plain", body: "x".repeat(40_000) };
  assert.match((await fetchPage(page)).text, /x\n\n\[characters 0 to 30000 of 40000; go on with start 30000\]$/);
  assert.equal((await fetchPage(page, { start: 30_000 })).text, "x".repeat(10_000));
});

for (const input of [{ url: 1 }, { url: "x".repeat(5_000) }, { start: -1 }, { start: 1.5 }, { url: "http://127.0.0.1/" }])
  test(`The input ${JSON.stringify(input).slice(0, 40)} is refused in words`, async () => {
    const { status, text } = await fetchPage({ body: "" }, input);
    assert.equal(status, "error");
    assert.match(text, /^The page was not got: /);
  });
