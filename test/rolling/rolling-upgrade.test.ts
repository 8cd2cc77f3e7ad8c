/** Nodes of an older version are replaced by newer ones, one after the other, under load, with a step back in between. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { type Header, headerKey, statePrefix } from "../../src/actors/actor-rows.ts";
import { decodeJson } from "../../src/base/json.ts";
import { encodeTuple } from "../../src/base/tuple.ts";
import { PostgresStore } from "../../src/storage/postgres-store.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { type CounterRow, counterId, type Question, type Reply } from "./versioned-node.ts";

const file = join(import.meta.dirname, "versioned-node.ts");
const keys = Array.from({ length: 20 }, (_, index) => `counter-${index}`);

class VersionedNode implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #questions = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (reply: Reply) => {
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    });
    child.on("exit", (code) => {
      for (const [id, resolve] of this.#waiting) resolve({ id, error: `The node ended with code ${code}` });
    });
  }

  /** @throws {Error} It does not start, and says why. */
  static async start(store: string, name: string, max: number): Promise<VersionedNode> {
    const node = new VersionedNode(fork(file, [store, name, String(max)]));
    const { error } = await new Promise<Reply>((resolve) => node.#waiting.set(0, resolve));
    if (error !== undefined) throw new Error(error);
    return node;
  }

  /** What the node says. @throws {Error} */
  async ask(question: Omit<Question, "id">): Promise<number> {
    const id = ++this.#questions;
    const reply = await new Promise<Reply>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, ...question });
    });
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply.value!;
  }

  /** Resolves with its exit code. */
  async stop(): Promise<number | null> {
    const ended = once(this.#child, "exit") as Promise<[number | null]>;
    this.#child.kill("SIGTERM");
    return (await ended)[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

test(
  "Versions 1 and 2 work together, there is a way back, and then all are of version 2",
  { skip: postgresMissing ?? false },
  async (t) => {
    await using postgres = await PostgresServer.start();
    await using store = await PostgresStore.open(postgres.address);
    const nodes = new Map<string, VersionedNode>();
    let isOver = false;
    await using _ending = {
      [Symbol.asyncDispose]: async () => {
        isOver = true;
        for (const node of nodes.values()) await node[Symbol.asyncDispose]();
      },
    };
    /** Takes a node out of what clients use, stops it, and starts another of the same name in its place. */
    const replace = async (name: string, max: number): Promise<void> => {
      const before = nodes.get(name);
      nodes.delete(name);
      if (before !== undefined) assert.equal(await before.stop(), 0);
      nodes.set(name, await VersionedNode.start(postgres.address, name, max));
    };
    const versions = async (): Promise<{ readonly headers: ReadonlySet<number>; readonly rows: ReadonlySet<string> }> => {
      const ids = keys.map(counterId);
      const answers = await store.read(ids.flatMap((id) => [{ key: headerKey(id) }, { key: encodeTuple([...statePrefix(id), "count"]) }]));
      const values = answers.map((answer) => decodeJson<Header | CounterRow>(answer[0]!.value));
      return {
        headers: new Set(values.flatMap((value, index) => (index % 2 === 0 ? [(value as Header).schema] : []))),
        rows: new Set(values.flatMap((value, index) => (index % 2 === 1 ? [typeof value] : []))),
      };
    };

    for (const name of ["a", "b", "c"]) await replace(name, 1);
    const added = new Map(keys.map((key) => [key, 0]));
    const errors: unknown[] = [];
    let calls = 0;
    const client = async (index: number): Promise<void> => {
      for (let number = 0; !isOver; number++) {
        const key = keys[(index * 7 + number) % keys.length]!;
        const node = [...nodes.values()][(index + number) % nodes.size]!;
        try {
          await node.ask({ key, invocationId: `${index}-${number}` });
          added.set(key, added.get(key)! + 1);
          calls++;
        } catch (error) {
          errors.push(error);
        }
      }
    };
    /** Resolves when every counter has been called since. */
    const callsToAll = async (): Promise<void> => {
      for (const key of keys) {
        await nodes
          .values()
          .next()
          .value!.ask({ key, invocationId: `all ${key} ${calls}` });
        added.set(key, added.get(key)! + 1);
      }
    };
    const clients = Array.from({ length: 4 }, (_, index) => client(index));
    await callsToAll();

    await replace("a", 2);
    await replace("b", 2);
    await callsToAll();
    assert.deepEqual(await versions(), { headers: new Set([1]), rows: new Set(["number"]) }, "one node reads version 1 only");
    await replace("b", 1);
    await callsToAll();
    assert.deepEqual(await versions(), { headers: new Set([1]), rows: new Set(["number"]) }, "the step back");
    await replace("b", 2);
    await replace("c", 2);
    for (const node of nodes.values()) while ((await node.ask({})) < 2);
    await callsToAll();
    assert.deepEqual(await versions(), { headers: new Set([2]), rows: new Set(["object"]) }, "all nodes read version 2");
    await assert.rejects(VersionedNode.start(postgres.address, "d", 1), /IncompatibleNodeError.*writes rows of version 2.*update it/);

    isOver = true;
    await Promise.all(clients);
    assert.deepEqual(errors, []);
    for (const [key, count] of added) assert.equal(await nodes.get("a")!.ask({ key, invocationId: `last ${key}` }), count + 1, key);
    t.diagnostic(`5 replacements under ${calls} calls of clients, none failed, none lost; version 1 is refused afterwards`);
  },
);
