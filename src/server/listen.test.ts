import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import type { App } from "./app.ts";
import { EventStream, pump, type StreamEvent } from "./event-stream.ts";
import { listen, ListenError, type Listening } from "./listen.ts";

const environment = new RealEnvironment({ write: () => {} });

/** An app that answers every request with one event stream. */
function streamingApp(follow: (signal: AbortSignal) => AsyncIterable<readonly StreamEvent[]>, closing: AbortSignal): App {
  return {
    endpoints: [],
    callActor: () => undefined,
    request: () => Promise.reject(new Error("Not over HTTP")),
    fetch: (_request, connection) => {
      void pump(new EventStream({ follow, runId: "run-1", after: 0, includePings: false }), connection!.openSink(), environment, closing);
      return connection!.alreadySent;
    },
  };
}

const plainApp: App = {
  endpoints: [],
  callActor: () => undefined,
  request: () => Promise.reject(new Error("Not over HTTP")),
  fetch: () => new Response("hello"),
};

async function start(app: App, close: () => void = () => {}): Promise<Listening> {
  return await listen(app, { host: "127.0.0.1", port: 0, hasKey: false, environment, close });
}

function event(seq: number, last = false): StreamEvent {
  return { seq, message: { message_type: "assistant_message", content: "x".repeat(10) }, last };
}

test("A port in use is an error that names the port and says what to do", async () => {
  const first = await start(plainApp);
  await assert.rejects(
    listen(plainApp, { host: "127.0.0.1", port: first.port, hasKey: false, environment, close: () => {} }),
    (error: Error) => {
      assert.ok(error instanceof ListenError);
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${first.port}: the port is in use.*--port`));
      return true;
    },
  );
  await first.close(100);
});

for (const host of ["0.0.0.0", "::", "192.0.2.1"])
  test(`Without a key the server refuses to listen on ${host}`, async () => {
    await assert.rejects(listen(plainApp, { host, port: 0, hasKey: false, environment, close: () => {} }), /KELPIE_API_KEY/);
  });

test("With a key the server listens beyond loopback", async () => {
  const listening = await listen(plainApp, { host: "0.0.0.0", port: 0, hasKey: true, environment, close: () => {} });
  assert.equal(await (await fetch(`http://127.0.0.1:${listening.port}/`)).text(), "hello");
  await listening.close(100);
});

test("A stream over the socket arrives whole, in order, with [DONE] at its end", async () => {
  const closing = new AbortController();
  async function* follow(): AsyncGenerator<readonly StreamEvent[]> {
    for (let seq = 1; seq <= 2_000; seq++) yield [event(seq, seq === 2_000)];
  }
  const listening = await start(streamingApp(follow, closing.signal));
  const response = await fetch(listening.url);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const frames = (await response.text()).split("\n\n").filter((frame) => frame !== "");
  assert.equal(frames.length, 2_001);
  assert.deepEqual(
    frames.slice(0, -1).map((frame) => (JSON.parse(frame.slice("data: ".length)) as { seq_id: number }).seq_id),
    Array.from({ length: 2_000 }, (_, index) => index + 1),
  );
  assert.equal(frames.at(-1), "data: [DONE]");
  await listening.close(100);
});

test("Events of one turn of the event loop leave in one write", async () => {
  const closing = new AbortController();
  async function* follow(): AsyncGenerator<readonly StreamEvent[]> {
    for (let seq = 1; seq <= 50; seq++) yield [event(seq, seq === 50)];
  }
  const listening = await start(streamingApp(follow, closing.signal));
  const chunks = await new Promise<number>((resolve, reject) => {
    httpRequest(listening.url, (response) => {
      let count = 0;
      response.on("data", () => count++);
      response.on("end", () => resolve(count));
    })
      .on("error", reject)
      .end();
  });
  assert.ok(chunks <= 3, `${chunks} chunks`);
  await listening.close(100);
});

test("A reader that does not read stops the pulling of events", async () => {
  const closing = new AbortController();
  let pulled = 0;
  const text = "x".repeat(64 * 1024);
  async function* follow(signal: AbortSignal): AsyncGenerator<readonly StreamEvent[]> {
    // 4 GB, more than any socket buffer holds.
    while (pulled < 65_536 && !signal.aborted) yield [{ seq: ++pulled, message: { message_type: "assistant_message", content: text } }];
  }
  const listening = await start(streamingApp(follow, closing.signal));
  const socket = connect(listening.port, "127.0.0.1");
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  let before = -1;
  // Quiet when nothing was pulled during a whole interval: the kernel's buffers are full by then.
  while (before !== pulled || pulled === 0) {
    before = pulled;
    await environment.clock.sleep(50);
  }
  assert.ok(pulled < 1_000, `${pulled} batches of 64 KB were pulled`);
  socket.destroy();
  await listening.close(1_000);
});

test("A reader that goes away ends its stream's source", { timeout: 5_000 }, async () => {
  const closing = new AbortController();
  const ended = Promise.withResolvers<void>();
  async function* follow(signal: AbortSignal): AsyncGenerator<readonly StreamEvent[]> {
    yield [event(1)];
    await environment.clock.sleep(60_000, signal);
    ended.resolve();
  }
  const listening = await start(streamingApp(follow, closing.signal));
  const reader = new AbortController();
  const response = await fetch(listening.url, { signal: reader.signal });
  await response.body!.getReader().read();
  reader.abort();
  await ended.promise;
  await listening.close(100);
});

test("Closing ends a stream without [DONE], so that its reader resumes it elsewhere", { timeout: 5_000 }, async () => {
  const closing = new AbortController();
  async function* follow(signal: AbortSignal): AsyncGenerator<readonly StreamEvent[]> {
    yield [event(1)];
    await environment.clock.sleep(60_000, signal);
  }
  const listening = await start(streamingApp(follow, closing.signal), () => closing.abort());
  const response = await fetch(listening.url);
  const text = response.text();
  // The head is here, so the stream is open.
  await listening.close(5_000);
  assert.match(await text, /"seq_id":1/);
  assert.doesNotMatch(await text, /DONE/);
});

test("What may finish comes to its end after new connections are refused, and before streams are cut", { timeout: 5_000 }, async () => {
  const closing = new AbortController();
  const goOn = Promise.withResolvers<void>();
  async function* follow(): AsyncGenerator<readonly StreamEvent[]> {
    yield [event(1)];
    await goOn.promise;
    yield [event(2, true)];
  }
  const listening = await start(streamingApp(follow, closing.signal), () => closing.abort());
  const response = await fetch(listening.url);
  const text = response.text();
  const closed = listening.close(5_000, 5_000);
  await assert.rejects(fetch(listening.url));
  goOn.resolve();
  await closed;
  assert.match(await text, /"seq_id":2[\s\S]*\[DONE\]/);
});

const apps: readonly [string, App][] = [
  ["an answer", plainApp],
  ["a call of an actor", { ...plainApp, callActor: (_request, body) => body().then(() => ({ status: 200, headers: {}, body: "hello" })) }],
  [
    "a stream",
    streamingApp(async function* () {
      yield [event(1, true)];
    }, new AbortController().signal),
  ],
];
for (const [what, app] of apps)
  test(`From when the server retires, ${what} is the last of its connection`, { timeout: 5_000 }, async () => {
    const listening = await start(app);
    const ask = async (): Promise<string | null> => {
      const response = await fetch(`${listening.url}/v1/actors/a/b/c`, { method: "POST", body: "{}" });
      await response.text();
      return response.headers.get("connection");
    };
    assert.equal(await ask(), "keep-alive");
    listening.retire();
    assert.equal(await ask(), "close");
    await listening.close(100);
  });

test("A connection on which nothing was asked does not hold up the end", { timeout: 5_000 }, async () => {
  const listening = await start(plainApp);
  const socket = connect(listening.port, "127.0.0.1");
  const over = new Promise((resolve) => socket.once("close", resolve));
  // When this is answered, the connection before it was taken too.
  assert.equal(await (await fetch(listening.url)).text(), "hello");
  await listening.close(60_000);
  await over;
});

test("After the grace period, answers that do not end are cut off", { timeout: 5_000 }, async () => {
  const arrived = Promise.withResolvers<void>();
  const hanging: App = {
    ...plainApp,
    fetch: () => {
      arrived.resolve();
      return new Promise(() => {});
    },
  };
  const listening = await start(hanging);
  const response = assert.rejects(fetch(listening.url));
  await arrived.promise;
  await listening.close(10);
  await response;
});

const host = "Host: localhost\r\n";

for (const [name, bytes, status, detail] of [
  ["no HTTP at all", "\x16\x03\x01\x02\x00", 400, /The request is not HTTP .*Invalid method/],
  ["a content length that is none", `POST /x HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`, 400, /Content-Length/],
  ["two lengths", `POST /x HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, /not HTTP/],
  ["an address that is not encoded", `GET /v1/\xfc HTTP/1.1\r\n${host}\r\n`, 400, /Invalid char in url path/],
  ["a backslash in its address", `GET /v1\\x HTTP/1.1\r\n${host}\r\n`, 400, /Backslash in request path/],
  ["a host that is none", "GET /v1/x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, /Invalid host header/],
  ["an address that is too long", `GET /${"x".repeat(70_000)} HTTP/1.1\r\n${host}\r\n`, 431, /at most 65536 bytes/],
] as const)
  test(`A request with ${name} is answered with ${status} in JSON`, async () => {
    const listening = await start(plainApp);
    try {
      const answer = await exchange(listening.port, Buffer.from(bytes, "latin1"));
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `));
      const { detail: shown } = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4)) as { readonly detail: string };
      assert.match(shown, detail);
    } finally {
      await listening.close(0);
    }
  });

test("What is no HTTP does not break into an answer that is under way", async () => {
  const never = new AbortController();
  const listening = await start(
    streamingApp(async function* () {
      yield [event(1)];
      await new Promise(() => {});
    }, never.signal),
  );
  try {
    const answer = await exchange(listening.port, Buffer.from(`GET /x HTTP/1.1\r\n${host}\r\n`), "\x16\x03\x01garbage\r\n\r\n");
    assert.match(answer, /assistant_message/);
    assert.doesNotMatch(answer, /400 Bad Request/);
  } finally {
    await listening.close(0);
  }
});

test("A body over the limit for an actor is read past the limit, so that every client sees the refusal", async () => {
  const listening = await start({ ...plainApp, callActor: (_request, body) => body().then(() => assert.fail("It is too large"), refused) });
  function refused(error: Error): { status: number; headers: Record<string, string>; body: string } {
    return { status: 413, headers: {}, body: error.message };
  }
  try {
    // Written without reading: a connection that is reset before its end loses the answer.
    const size = 60 * 1024 * 1024;
    const head = `POST /v1/actors/a/b/c HTTP/1.1\r\n${host}Content-Length: ${size}\r\nConnection: close\r\n\r\n`;
    const answer = await exchange(listening.port, Buffer.concat([Buffer.from(head), Buffer.alloc(size, 0x20)]));
    assert.match(answer, /^HTTP\/1.1 413 .*The body has at most 52428800 bytes/s);
  } finally {
    await listening.close(0);
  }
});

/** Sends `first`, and `second` once there is an answer; gives all that came until nothing more comes. */
async function exchange(port: number, first: Uint8Array, second?: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  socket.setEncoding("latin1");
  socket.write(first);
  try {
    for await (const piece of socket as AsyncIterable<string>) {
      answer += piece;
      if (second !== undefined && answer.includes("assistant_message")) {
        socket.write(second, "latin1");
        second = undefined;
      }
      const [, length] = /content-length: (\d+)\r\n/i.exec(answer) ?? [];
      if (length !== undefined && answer.length >= answer.indexOf("\r\n\r\n") + 4 + Number(length)) break;
    }
  } finally {
    socket.destroy();
  }
  return answer;
}
