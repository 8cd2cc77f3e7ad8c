/** Clients that share objects: each calls one after the other, through any node, and notes what it saw. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RandomStream } from "../../simulation/random.ts";
import { Histories, kindOf } from "./history.ts";
import { nodeNames } from "./network.ts";
import { type Call, type Kind, kinds, type ObjectReply } from "./objects.ts";

/** After this long the clients go on to new objects: a history stays short enough to be checked. */
const generationMilliseconds = 25_000;
const objectsPerKind = 6;

const changes: Readonly<Record<Kind, Call["method"]>> = { register: "write", counter: "add", list: "append" };

export interface Endpoint {
  readonly name: string;
  readonly url: string;
}

/** How a client calls: `patient` ones repeat a call, changes under one id, until they know; `hasty` ones give up soon and do not. */
export type Manner = "patient" | "hasty";

const manners = {
  patient: { attemptMilliseconds: 8_000, giveUpMilliseconds: 60_000, reads: 0.4 },
  hasty: { attemptMilliseconds: 1_500, giveUpMilliseconds: 0, reads: 0.3 },
} as const;

/** Longer than any fault. */
const watchMilliseconds = 20_000;
/** For each node: as many as there are objects that are not changed through it. */
export const watchersPerNode: number = kinds.length * (objectsPerKind / nodeNames.length);

type Answer =
  | { readonly kind: "reply"; readonly reply: ObjectReply }
  /** It may have taken effect, or may still. */
  | { readonly kind: "unknown" }
  | { readonly kind: "wrong"; readonly problem: string };

export class ObjectClients {
  readonly histories: Histories = new Histories();
  readonly #endpoints: readonly Endpoint[];
  readonly #apiKey: string;
  readonly #startedAt = performance.now();
  #calls = 0;

  constructor(endpoints: readonly Endpoint[], apiKey: string) {
    this.#endpoints = endpoints;
    this.#apiKey = apiKey;
  }

  /** The objects that are called now. */
  get current(): readonly string[] {
    const generation = Math.floor((performance.now() - this.#startedAt) / generationMilliseconds);
    return kinds.flatMap((kind) => Array.from({ length: objectsPerKind }, (_, index) => `${kind}/${generation}-${index}`));
  }

  /** One client, until `signal` aborts. */
  async run(
    name: string,
    options: { readonly manner: Manner; readonly random: RandomStream; readonly signal: AbortSignal },
  ): Promise<void> {
    const { manner, random, signal } = options;
    while (!signal.aborted) {
      const object = random.pick(this.current);
      const at = random.below(this.#endpoints.length);
      if (random.chance(manners[manner].reads)) await this.read(object, { client: name, at });
      else await this.change(object, { client: name, at, manner });
      await sleep(10 + random.below(60));
    }
  }

  /**
   * One client that only reads, through one node, an object that is changed through the others, and waits for each
   * answer. Nothing of the object waits for the store at that node when it is cut off: it would answer from memory, for
   * as long as it takes itself to have the object.
   */
  async watch(
    name: string,
    options: { readonly at: number; readonly turn: number; readonly random: RandomStream; readonly signal: AbortSignal },
  ): Promise<void> {
    const { at, turn, random, signal } = options;
    while (!signal.aborted) {
      const object = this.current.filter((each) => this.#avoidedBy(each) === at)[turn]!;
      await this.#readOnce(object, { client: name, at, milliseconds: watchMilliseconds });
      await sleep(50 + random.below(250));
    }
  }

  /** Reads until there is an answer. */
  async read(object: string, options: { readonly client: string; readonly at: number }): Promise<void> {
    const { attemptMilliseconds, giveUpMilliseconds } = manners.patient;
    const end = performance.now() + giveUpMilliseconds;
    for (let { at } = options; performance.now() < end; at++) {
      if (await this.#readOnce(object, { client: options.client, at, milliseconds: attemptMilliseconds })) return;
      await sleep(50);
    }
  }

  /** Gives when the answer was there, or `undefined`. */
  async change(
    object: string,
    options: { readonly client: string; readonly at: number; readonly manner: Manner; readonly avoid?: string },
  ): Promise<number | undefined> {
    const { attemptMilliseconds, giveUpMilliseconds } = manners[options.manner];
    const number = ++this.#calls;
    const input: Call = { method: changes[kindOf(object)], value: kindOf(object) === "counter" ? 1 + (number % 2) : number };
    const called = performance.now();
    for (let at = options.at; ; at++) {
      const endpoint = this.#endpointAt(at);
      if (endpoint.name === options.avoid || endpoint === this.#endpoints[this.#avoidedBy(object)]) continue;
      const answer = await this.#ask(endpoint, object, input, { milliseconds: attemptMilliseconds, id: `change ${number}` });
      const note = { called, input, client: options.client, through: endpoint.name };
      if (answer.kind === "reply") return this.#note(object, note, answer.reply);
      if (answer.kind === "wrong") this.histories.problems.push(answer.problem);
      if (answer.kind === "wrong" || performance.now() >= called + giveUpMilliseconds) {
        this.histories.add(object, { ...note, returned: Infinity, output: undefined });
        return undefined;
      }
      await sleep(50);
    }
  }

  /** An attempt that is not answered is not noted: a read leaves nothing. */
  async #readOnce(
    object: string,
    options: { readonly client: string; readonly at: number; readonly milliseconds: number },
  ): Promise<boolean> {
    const endpoint = this.#endpointAt(options.at);
    const called = performance.now();
    const input: Call = { method: "read", value: 0 };
    const answer = await this.#ask(endpoint, object, input, { milliseconds: options.milliseconds });
    if (answer.kind === "reply") this.#note(object, { called, input, client: options.client, through: endpoint.name }, answer.reply);
    if (answer.kind === "wrong") this.histories.problems.push(answer.problem);
    return answer.kind === "reply";
  }

  #note(
    object: string,
    entry: { readonly called: number; readonly input: Call; readonly client: string; readonly through: string },
    reply: ObjectReply,
  ): number {
    const returned = performance.now();
    this.histories.answered(object, reply);
    this.histories.add(object, { ...entry, returned, output: { text: reply.text, order: reply.order } });
    return returned;
  }

  /** The node through which nobody changes an object. */
  #avoidedBy(object: string): number {
    return Number(object.slice(object.lastIndexOf("-") + 1)) % this.#endpoints.length;
  }

  #endpointAt(at: number): Endpoint {
    return this.#endpoints[at % this.#endpoints.length]!;
  }

  async #ask(
    endpoint: Endpoint,
    object: string,
    call: Call,
    options: { readonly milliseconds: number; readonly id?: string },
  ): Promise<Answer> {
    const { milliseconds, id } = options;
    try {
      const response = await fetch(`${endpoint.url}/v1/actors/${object}/${call.method}`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          authorization: `Bearer ${this.#apiKey}`,
          "kelpie-timeout-milliseconds": String(milliseconds),
          ...(id === undefined ? {} : { "idempotency-key": id }),
        },
        body: JSON.stringify({ value: call.value }),
        signal: AbortSignal.timeout(milliseconds),
      });
      const text = await response.text();
      if (response.ok) return { kind: "reply", reply: JSON.parse(text) as ObjectReply };
      if ([429, 503, 504].includes(response.status)) return { kind: "unknown" };
      return {
        kind: "wrong",
        problem: `${endpoint.name} answered ${call.method} of ${object} with ${response.status}: ${text.slice(0, 300)}`,
      };
    } catch (error) {
      // The node is down, or does not answer.
      if (error instanceof TypeError || (error instanceof DOMException && ["AbortError", "TimeoutError"].includes(error.name)))
        return { kind: "unknown" };
      throw error;
    }
  }
}
