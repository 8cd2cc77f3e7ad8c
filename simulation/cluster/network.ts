/** The network between simulated nodes: pipes in memory under a weather of latency, loss and partitions. */
import { MemoryNetwork, type Passage, type Weather } from "../../src/cluster/memory-transport.ts";
import type { Pipe, PipeEvents } from "../../src/cluster/pipe.ts";
import type { NodeAddress } from "../../src/cluster/transport.ts";
import { type Incarnation, never } from "../process.ts";
import type { World } from "../world.ts";

/** What happens to what travels on a stopped link: it is lost, or it comes when the link goes on. */
export type Stoppage = "lose" | "hold";

/** From one node to another. */
interface Link {
  readonly stopped: { lose: number; hold: number };
  readonly held: (() => void)[];
}

const tailFactor = 30;

/** Names of nodes are their addresses: a node that restarts is where it was. */
export class SimulatedNetwork extends MemoryNetwork {
  readonly #weather: SimulatedWeather;

  constructor(world: World) {
    const weather = new SimulatedWeather(world);
    super(weather);
    this.#weather = weather;
  }

  /** From now on `incarnation` is at the address, until it ends. */
  inhabit(address: NodeAddress, incarnation: Incarnation): void {
    this.#weather.inhabitants.set(address, incarnation);
    incarnation.onEnd(() => this.crash(address));
  }

  /** Stops what travels from one node to another, until the function that it gives is called. */
  stop(from: NodeAddress, to: NodeAddress, how: Stoppage): () => void {
    return this.#weather.stop(from, to, how);
  }

  override add(address: NodeAddress, accept: (pipe: Pipe) => PipeEvents): void {
    const incarnation = this.#weather.inhabitants.get(address)!;
    super.add(address, (pipe) => whileAlive(incarnation, accept(pipe)));
  }

  override async dial(from: NodeAddress, to: NodeAddress, open: (pipe: Pipe) => PipeEvents, signal: AbortSignal): Promise<void> {
    const incarnation = this.#weather.inhabitants.get(from)!;
    if (!incarnation.cross("dial")) return await never();
    const opened = super.dial(from, to, (pipe) => (incarnation.alive ? whileAlive(incarnation, open(pipe)) : nobody(pipe)), signal);
    try {
      await opened;
    } finally {
      if (!incarnation.alive) await never();
    }
  }
}

/** Nothing reaches an incarnation that has ended, though its address may have a new one. */
function whileAlive(incarnation: Incarnation, events: PipeEvents): PipeEvents {
  return {
    received: (bytes) => {
      if (incarnation.alive) events.received(bytes);
    },
    drained: () => {
      if (incarnation.alive) events.drained();
    },
    closed: (error) => {
      if (incarnation.alive) events.closed(error);
    },
  };
}

function nobody(pipe: Pipe): PipeEvents {
  pipe.destroy();
  return { received: () => {}, drained: () => {}, closed: () => {} };
}

class SimulatedWeather implements Weather {
  readonly inhabitants = new Map<NodeAddress, Incarnation>();
  readonly #world: World;
  readonly #links = new Map<string, Link>();

  constructor(world: World) {
    this.#world = world;
  }

  carry(passage: Passage, deliver: () => void): void {
    const { from, to, what } = passage;
    // What a process writes it must live to write; that nobody listens, and that a process is gone, its machine says.
    if (what === "bytes" && this.inhabitants.get(from)?.cross("send") !== true) return;
    const link = this.#link(from, to);
    if (link.stopped.lose > 0 || this.#isLost(from, to)) return;
    const travel = (): void => this.#travel(passage, deliver);
    if (link.stopped.hold > 0) link.held.push(travel);
    else travel();
  }

  stop(from: NodeAddress, to: NodeAddress, how: Stoppage): () => void {
    const link = this.#link(from, to);
    link.stopped[how]++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      link.stopped[how]--;
      if (link.stopped.hold > 0) return;
      for (const travel of link.held.splice(0)) travel();
    };
  }

  #travel({ from, to, what, bytes }: Passage, deliver: () => void): void {
    const { kernel } = this.#world;
    kernel.schedule(this.#latency(from, to), { kind: "net", details: `${what} ${from}>${to} ${bytes}` }, () => {
      const receiver = this.inhabitants.get(to);
      if (receiver?.alive !== true) return deliver();
      const arrive = (): void => {
        if (receiver.cross("net")) deliver();
      };
      if (receiver.paused) kernel.schedule(0, { kind: "net", owner: receiver, details: `${what} ${from}>${to} late` }, arrive);
      else arrive();
    });
  }

  #latency(from: NodeAddress, to: NodeAddress): number {
    const { networkMilliseconds, networkTail } = this.#world.swarm.cluster;
    const random = this.#world.random.stream(`net/${from}>${to}`);
    const { lowest, highest } = networkMilliseconds;
    const milliseconds = lowest + random.fraction() * (highest - lowest);
    const isLong = random.chance(networkTail) && this.#hasFaults;
    return isLong && this.#world.faultHappens("long way", `${from}>${to}`) ? milliseconds * tailFactor : milliseconds;
  }

  #isLost(from: NodeAddress, to: NodeAddress): boolean {
    const isLost = this.#world.random.stream(`loss/${from}>${to}`).chance(this.#world.swarm.cluster.networkLoss) && this.#hasFaults;
    return isLost && this.#world.faultHappens("loss", `${from}>${to}`);
  }

  get #hasFaults(): boolean {
    return this.#world.kernel.now < this.#world.swarm.faultsUntil;
  }

  #link(from: NodeAddress, to: NodeAddress): Link {
    const name = `${from}>${to}`;
    let link = this.#links.get(name);
    if (link === undefined) this.#links.set(name, (link = { stopped: { lose: 0, hold: 0 }, held: [] }));
    return link;
  }
}
