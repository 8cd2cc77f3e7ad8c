/** What every transport promises. Each adapter's test calls this with a way to make nodes of one cluster. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import {
  type CallContext,
  type CallHandler,
  type NodeAddress,
  NodeUnreachableError,
  OverloadedError,
  RemoteError,
  ReplyLostError,
  type Transport,
  type Wire,
} from "./transport.ts";
import type { TransportLimits, TransportTimings } from "./transport-limits.ts";

export interface NodeSettings {
  readonly limits?: Partial<TransportLimits>;
  readonly timings?: Partial<TransportTimings>;
}

/** Makes nodes that can reach each other. */
export interface TransportSetup extends AsyncDisposable {
  node(name: string, settings?: NodeSettings): Transport;
}

/** Longer than any test takes. */
export const patient = { timeoutMilliseconds: 60_000 };

class TeapotError extends Error {
  override readonly name = "TeapotError";
  readonly spouts = 1;
  readonly lid = { material: "clay" };
  readonly pour = (): void => {};
}

/** A handler that does what the tests ask, and remembers. */
export class TestHandler implements CallHandler {
  readonly calls: { readonly method: string; readonly context: CallContext }[] = [];
  readonly waiting: (() => void)[] = [];
  produced = 0;
  ended = 0;

  async request(method: string, body: Wire, context: CallContext): Promise<Wire> {
    this.calls.push({ method, context });
    switch (method) {
      case "echo":
        return body;
      case "context":
        return { peer: context.peer, hops: context.hops, remaining: context.remainingMilliseconds };
      case "throw":
        throw new TeapotError("short and stout");
      case "unsendable":
        return new Map();
      case "wait":
        await new Promise<void>((resolve) => this.waiting.push(resolve));
        return body;
      case "until-aborted":
        await new Promise<void>((resolve) => context.signal.addEventListener("abort", () => resolve()));
        this.ended++;
        return null;
      default:
        return null;
    }
  }

  async *stream(method: string, body: Wire, context: CallContext): AsyncGenerator<Wire> {
    this.calls.push({ method, context });
    try {
      const { count = Number.POSITIVE_INFINITY, bytes = 10 } = body as { readonly count?: number; readonly bytes?: number };
      for (let at = 0; at < count; at++) {
        this.produced++;
        yield { at, filling: new Uint8Array(bytes) };
      }
      if (method === "break") throw new TeapotError("after the last");
    } finally {
      this.ended++;
    }
  }
}

/** Waits for what other events bring about. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

export function describeTransport(name: string, setUp: () => Promise<TransportSetup>): void {
  const it = (title: string, run: (world: World) => Promise<void>): void =>
    void test(title, { timeout: 60_000 }, async () => {
      await using setup = await setUp();
      const handler = new TestHandler();
      await using server = setup.node("server", { timings: { close: 200 } });
      const address = await server.listen(handler);
      await using client = setup.node("client", { timings: { close: 200 } });
      await run({ setup, handler, server, address, client });
    });

  describe(name, () => {
    it("A request is answered with what the handler returns, for every kind of value", async ({ client, address }) => {
      for (const value of [
        null,
        undefined,
        true,
        0,
        -1.5,
        2 ** 40,
        12n,
        "",
        "grün 🐕",
        "\ud800",
        new Uint8Array([0, 255]),
        [1, [2]],
        { a: { b: undefined } },
      ])
        assert.deepEqual(await client.request(address, "echo", value, patient), value);
    });

    it("A handler knows who called, how often the call was forwarded, and how long is left", async ({ client, address }) => {
      const context = (await client.request(address, "context", null, { timeoutMilliseconds: 5_000, hops: 1 })) as CallContext & {
        remaining: number;
      };
      assert.equal(context.peer, "client");
      assert.equal(context.hops, 2);
      assert.ok(context.remaining > 0 && context.remaining <= 5_001, `${context.remaining} ms`);
    });

    it("1,000 requests at a time get each its own answer, over one connection", async ({ client, address }) => {
      const answers = await Promise.all(Array.from({ length: 1_000 }, (_, at) => client.request(address, "echo", at, patient)));
      assert.deepEqual(answers, [...answers.keys()]);
    });

    it("What a handler throws arrives as its name, message and plain fields", async ({ client, address }) => {
      await assert.rejects(client.request(address, "throw", null, patient), (error) => {
        assert.ok(error instanceof RemoteError);
        assert.deepEqual(
          [error.remoteName, error.message, error.fields],
          ["TeapotError", "short and stout", { spouts: 1, lid: { material: "clay" } }],
        );
        return true;
      });
    });

    it("What cannot be sent is refused where it is sent, and fails a call where it is answered", async ({ client, address, handler }) => {
      for (const value of [new Map(), new Date(0), () => 1, new TeapotError("x"), { ["__proto__"]: 1, a: Symbol("s") }, 2n ** 64n])
        await assert.rejects(client.request(address, "echo", value, patient), TypeError);
      assert.equal(handler.calls.length, 0);
      await assert.rejects(client.request(address, "unsendable", null, patient), RemoteError);
      assert.equal(await client.request(address, "echo", 1, patient), 1);
    });

    it("A call with a senseless option is refused", async ({ client, address }) => {
      const cases: readonly (readonly [string, object])[] = [
        ["echo", { timeoutMilliseconds: 0 }],
        ["echo", { timeoutMilliseconds: Number.NaN }],
        ["echo", { timeoutMilliseconds: 1, hops: -1 }],
        ["echo", { timeoutMilliseconds: 1, hops: 255 }],
        ["", patient],
        ["m".repeat(256), patient],
      ];
      for (const [method, options] of cases)
        await assert.rejects(client.request(address, method, null, options as typeof patient), TypeError);
    });

    it("Nobody at the address: NodeUnreachableError, also from a node that has closed", async ({ client, server, address }) => {
      assert.equal(await client.request(address, "echo", 1, patient), 1);
      await server[Symbol.asyncDispose]();
      await assert.rejects(client.request(address, "echo", 1, patient), NodeUnreachableError);
      await client[Symbol.asyncDispose]();
      await assert.rejects(client.request(address, "echo", 1, patient), NodeUnreachableError);
    });

    it("When the time is over the caller gets a ReplyLostError, and the handler's signal aborts", async ({ client, address, handler }) => {
      assert.equal(await client.request(address, "echo", 1, patient), 1);
      await assert.rejects(client.request(address, "until-aborted", null, { timeoutMilliseconds: 30 }), ReplyLostError);
      await until(() => handler.ended === 1);
    });

    it("A cancelled call ends with the reason of its signal, and the handler's signal aborts", async ({ client, address, handler }) => {
      const controller = new AbortController();
      const answer = client.request(address, "until-aborted", null, { ...patient, signal: controller.signal });
      await until(() => handler.calls.length === 1);
      controller.abort(new TeapotError("enough"));
      await assert.rejects(answer, TeapotError);
      await until(() => handler.ended === 1);
      await assert.rejects(client.request(address, "echo", 1, { ...patient, signal: controller.signal }), TeapotError);
    });

    it("A storm of cancellations leaves nothing behind", async ({ client, address, handler }) => {
      const rounds = Array.from({ length: 1_000 }, async (_, at) => {
        const controller = new AbortController();
        const answer = client.request(address, "until-aborted", at, { ...patient, signal: controller.signal });
        if (at % 3 === 0) await turn();
        controller.abort(new TeapotError("enough"));
        await assert.rejects(answer, TeapotError);
      });
      await Promise.all(rounds);
      await until(() => handler.ended === handler.calls.length);
      assert.equal(await client.request(address, "echo", 1, patient), 1);
    });

    it("A stream gives its items in order, then ends, or fails as its handler did", async ({ client, address }) => {
      const seen: number[] = [];
      for await (const item of client.stream(address, "count", { count: 1_000 }, patient)) seen.push((item as { at: number }).at);
      assert.deepEqual(seen, [...Array.from({ length: 1_000 }).keys()]);
      let items = 0;
      await assert.rejects(async () => {
        for await (const _ of client.stream(address, "break", { count: 3 }, patient)) items++;
      }, RemoteError);
      assert.equal(items, 3);
    });

    it("Leaving the loop ends the stream at its producer", async ({ client, address, handler }) => {
      for await (const item of client.stream(address, "count", {}, patient)) if ((item as { at: number }).at === 5) break;
      await until(() => handler.ended === 1);
    });

    it("A slow reader stops its own producer, and none of 99 others", async ({ client, address, handler }) => {
      const slow = client.stream(address, "count", { bytes: 1_000 }, patient)[Symbol.asyncIterator]();
      await slow.next();
      const others = Array.from({ length: 99 }, async () => {
        let count = 0;
        for await (const _ of client.stream(address, "count", { count: 300, bytes: 1_000 }, patient)) count++;
        return count;
      });
      assert.deepEqual(new Set(await Promise.all(others)), new Set([300]));
      const produced = handler.produced - 99 * 300;
      // The credit, and one item more.
      assert.ok(produced > 1 && produced < 131_072 / 1_000 + 2, `${produced} items for one that was read`);
      for (let at = 1; at < 500; at++) assert.equal(((await slow.next()).value as { at: number }).at, at);
      await slow.return!();
      await until(() => handler.ended === 100);
    });

    it("A body of 20 MB arrives whole, and small calls pass it", async ({ client, address }) => {
      const body = new Uint8Array(20 * 1_048_576).map((_, at) => at * 7);
      const order: string[] = [];
      const large = client.request(address, "echo", body, patient).then((answer) => {
        order.push("large");
        return answer as Uint8Array;
      });
      const small = client.request(address, "echo", "small", patient).then(() => order.push("small"));
      await small;
      assert.equal(Buffer.compare(await large, body), 0);
      assert.deepEqual(order, ["small", "large"]);
    });

    it("A body over the limit is refused where it is sent", async ({ client, address, handler }) => {
      await assert.rejects(client.request(address, "echo", new Uint8Array(33 * 1_048_576), patient), /33554432 bytes/);
      assert.equal(handler.calls.length, 0);
    });

    it("More calls than may be in flight: OverloadedError at the caller, and at the node that answers", async ({
      setup,
      client,
      address,
      handler,
    }) => {
      await using timid = setup.node("timid", { limits: { inFlightMax: 2 }, timings: { close: 200 } });
      const timidHandler = new TestHandler();
      const timidAddress = await timid.listen(timidHandler);
      const mine = [1, 2].map((at) => timid.request(address, "wait", at, patient));
      await until(() => handler.waiting.length === 2);
      await assert.rejects(timid.request(address, "wait", 3, patient), OverloadedError);
      const theirs = [1, 2].map((at) => client.request(timidAddress, "wait", at, patient));
      await until(() => timidHandler.waiting.length === 2);
      await assert.rejects(
        client.request(timidAddress, "wait", 3, patient),
        (error) => error instanceof OverloadedError && error.retryAfterMilliseconds > 0,
      );
      assert.equal(timidHandler.calls.length, 2);
      for (const go of [...handler.waiting, ...timidHandler.waiting]) go();
      assert.deepEqual(await Promise.all([...mine, ...theirs]), [1, 2, 1, 2]);
    });

    it("A node that closes lets calls in progress finish, and refuses new ones as not handled", async ({
      client,
      server,
      address,
      handler,
    }) => {
      const answer = client.request(address, "wait", "done", patient);
      await until(() => handler.waiting.length === 1);
      const closed = server[Symbol.asyncDispose]();
      await assert.rejects(client.request(address, "echo", 1, patient), NodeUnreachableError);
      handler.waiting[0]!();
      assert.equal(await answer, "done");
      await closed;
      assert.deepEqual(
        handler.calls.map(({ method }) => method),
        ["wait"],
      );
    });

    it("A call that does not finish while its node closes is lost, not unhandled", async ({ client, server, address, handler }) => {
      const answer = client.request(address, "wait", 1, patient);
      await until(() => handler.waiting.length === 1);
      const lost = assert.rejects(answer, ReplyLostError);
      await server[Symbol.asyncDispose]();
      await lost;
      assert.equal(handler.calls[0]!.context.signal.aborted, true);
    });

    it("Control traffic does not wait behind data", async ({ client, address }) => {
      const order: string[] = [];
      const bodies = Array.from({ length: 4 }, () =>
        client.request(address, "echo", new Uint8Array(8_000_000), patient).then(() => order.push("data")),
      );
      const control = client.request(address, "echo", null, { ...patient, class: "control" }).then(() => order.push("control"));
      await Promise.all([control, ...bodies]);
      assert.equal(order[0], "control");
    });
  });
}

interface World {
  readonly setup: TransportSetup;
  readonly handler: TestHandler;
  readonly server: Transport;
  readonly address: NodeAddress;
  readonly client: Transport;
}
