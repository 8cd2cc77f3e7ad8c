/** Clients that share objects: each calls one after the other, through any node, and notes what it saw. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RandomStream } from "../../simulation/random.ts";
import { Histories, kindOf } from "./history.ts";
import { type Call, type Kind, kinds, type ObjectReply } from "./objects.ts";

/** After this long the clients go on to new objects: a history stays short enough to be checked. */
const generationMilliseconds = 25_000;
const objectsPerKind = 6;

const changes: Readonly<Record<Kind, Call["method"]>> = { register: "write", counter: "add", list: "append" };

export interface Endpoint {
  readonly name: string;
  readonly url: string;
}

/**
 * How a client behaves. `patient` ones repeat a call, changes under one id, until they know; `hasty` ones give up soon
 * and do not; `sticky` ones only read, at one node, however long it takes, and only what is changed through the others:
 * nothing of theirs waits for the store there when the node is cut off, so it would answer from memory if it could.
 */
export type Manner = "patient" | "hasty" | "sticky";

const manners = {
  patient: { attemptMilliseconds: 8_000, giveUpMilliseconds: 60_000, reads: 0.4 },
  hasty: { attemptMilliseconds: 1_500, giveUpMilliseconds: 0, reads: 0.3 },
  sticky: { attemptMilliseconds: 15_000, giveUpMilliseconds: 0, reads: 1 },
} as const;

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

  /** One client, until `signal` aborts. `home` is the node that it asks first, or only. */
  async run(
    name: string,
    options: { readonly manner: Manner; readonly home: number; readonly random: RandomStream; readonly signal: AbortSignal },
  ): Promise<void> {
    const { manner, home, random, signal } = options;
    while (!signal.aborted) {
      const isSticky = manner === "sticky";
      const object = random.pick(this.current.filter((each) => !isSticky || this.#avoidedBy(each) === home));
      const at = isSticky ? home : random.below(this.#endpoints.length);
      if (random.chance(manners[manner].reads)) await this.read(object, { client: name, at, manner });
      else await this.change(object, { client: name, at, manner });
      await sleep(10 + random.below(60));
    }
  }

  /** Of several attempts only one that is answered counts: a read leaves nothing. */
  async read(object: string, options: { readonly client: string; readonly at: number; readonly manner: Manner }): Promise<void> {
    const { attemptMilliseconds, giveUpMilliseconds } = manners[options.manner];
    const end = performance.now() + giveUpMilliseconds;
    for (let at = options.at; ; at++) {
      const endpoint = this.#endpointAt(at);
      const called = performance.now();
      const input: Call = { method: "read", value: 0 };
      const answer = await this.#ask(endpoint, object, input, { milliseconds: attemptMilliseconds });
      if (answer.kind === "reply") this.#note(object, { called, input, client: options.client, through: endpoint.name }, answer.reply);
      if (answer.kind === "wrong") this.histories.problems.push(answer.problem);
      if (answer.kind === "reply" || performance.now() >= end) return;
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
