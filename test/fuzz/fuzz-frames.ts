/** Sends malformed frames to a node in a process of its own, while good peers call it. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { TcpTransport } from "../../src/cluster/tcp-transport.ts";
import { RawPeer, testEnvironment as environment, testIdentity } from "../../src/cluster/testing.ts";
import { patient } from "../../src/cluster/transport.contract.ts";
import type { NodeAddress } from "../../src/cluster/transport.ts";
import { ManualEnvironment } from "../support/manual-environment.ts";
import { FrameMutator } from "./frame-mutations.ts";

export interface FuzzOutcome {
  readonly frames: number;
  readonly bytes: number;
  readonly connections: number;
  /** Those that went through the hello first. */
  readonly joined: number;
  /** Calls of good peers, every one of which was answered rightly. */
  readonly goodCalls: number;
  readonly goodPeers: number;
  /** Megabytes of the node's memory after the first frames, half of them, and all, and at most. */
  readonly memory: { readonly first: number; readonly half: number; readonly last: number; readonly most: number };
}

const attackersMax = 24;
/** Few, as the first that no node would send ends the connection, and the rest is not read. */
const framesPerConnectionMax = 4;

/** @throws {Error} The node has crashed, or a good peer was not served. */
export async function fuzzFrames(options: {
  readonly frames: number;
  readonly seed: number;
  onProgress?(frames: number): void;
}): Promise<FuzzOutcome> {
  const child = fork(join(import.meta.dirname, "frames.child.ts"), [], { execArgv: ["--expose-gc"] });
  const crashed = once(child, "exit").then(([code, signal]): never => {
    throw new Error(`The node has crashed (${String(signal ?? code)}): seed ${options.seed}`);
  });
  crashed.catch(() => {}); // Also when it ends in good order.
  try {
    return await Promise.race([attack(child, options), crashed]);
  } finally {
    if (child.connected) child.disconnect();
  }
}

async function attack(child: ChildProcess, { frames, seed, onProgress }: Parameters<typeof fuzzFrames>[0]): Promise<FuzzOutcome> {
  const [{ address }] = (await once(child, "message")) as [{ address: NodeAddress }];
  const total = { frames: 0, bytes: 0, connections: 0, joined: 0, goodCalls: 0, goodPeers: 0 };
  const memory: number[] = [];
  const attacker = async (): Promise<void> => {
    while (total.frames < frames) {
      const mutator = new FrameMutator(new ManualEnvironment(seed * 1_000_003 + total.connections++).random);
      const count = Math.min(1 + mutator.below(framesPerConnectionMax), frames - total.frames);
      total.frames += count;
      const joins = mutator.chance(0.75);
      const peer = joins ? await RawPeer.join(address) : await RawPeer.connect(address);
      if (joins) total.joined++;
      for (let at = 0; at < count; at++) {
        const bytes = mutator.next();
        total.bytes += bytes.length;
        peer.socket.write(bytes);
      }
      peer.socket.end();
      await peer.closed;
    }
  };
  const attackers = Promise.all(Array.from({ length: attackersMax }, attacker));
  let isOver = false;
  const over = attackers.finally(() => {
    isOver = true;
  });
  const goodPeer = async (): Promise<void> => {
    await using peer = new TcpTransport({
      ...testIdentity,
      environment,
      secret: testIdentity.secret!,
      node: `good-${++total.goodPeers}`,
      host: "127.0.0.1",
      port: 0,
    });
    for (let call = 0; call < 50; call++) {
      const body = { call, filling: new Uint8Array(call * 100).fill(call) };
      assert.deepEqual(await peer.request(address, "echo", body, patient), body);
      total.goodCalls++;
    }
    let items = 0;
    for await (const _ of peer.stream(address, "count", { count: 20 }, patient)) items++;
    assert.equal(items, 20);
  };
  const watch = async (): Promise<void> => {
    do {
      await goodPeer();
      child.send("memory?");
      const [{ rss }] = (await once(child, "message")) as [{ rss: number }];
      memory.push(rss / 1_048_576);
      onProgress?.(total.frames);
    } while (!isOver);
  };
  await Promise.all([over, watch()]);
  await goodPeer();
  return {
    ...total,
    memory: { first: memory[0]!, half: memory[Math.floor(memory.length / 2)]!, last: memory.at(-1)!, most: Math.max(...memory) },
  };
}
