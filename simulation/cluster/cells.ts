/**
 * Actors that each hold one value, in a field and in a row: clients change it and read it, and its history has to be that
 * of one value which one client at a time works on.
 *
 * The field is handed over when the actor moves, so that an activation which believes what is not true any more shows.
 */
import type { Activation, Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import { checkLinearizable, type Operation, type SequentialModel } from "../linearizability.ts";
import type { Incarnation } from "../process.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";

/** An operation on a value; `kind: "read"` changes nothing. */
interface CellOperation {
  readonly kind: string;
}

/** What a value is and what can be done with it. */
export interface CellKind<Value, Op extends CellOperation> {
  readonly initial: Value;
  readonly read: Op;
  /** An operation that changes it, perhaps. `unique` is in no other; `seen` is what this client saw last. */
  draw(random: RandomStream, unique: string, seen: Value): Op;
  apply(value: Value, operation: Op): { readonly value: Value; readonly reply: unknown };
  /** Equal for operations that do the same to every value. */
  effectOf(operation: Op): string;
}

/** A message: no two are equal, though what they ask may be. */
interface CellMessage<Op> {
  readonly kind: string;
  readonly operation: Op;
  readonly unique: string;
  /** Milliseconds for which the turn waits before it ends. */
  readonly waits: number;
}

/** Steps of the check of one history: a few in a thousand need more. */
const stepsMax = 300_000;

export async function runCells<Value, Op extends CellOperation>(world: World, open: OpenActors, kind: CellKind<Value, Op>): Promise<void> {
  const cluster = open(world, (incarnation) => [cellType(kind, incarnation)]);
  const ids = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "cell", key: `cell-${at}` }));
  const histories = new Map(ids.map(({ key }) => [key, [] as Operation<Op, unknown>[]]));
  const seen = new Map<string, Value>();
  await runClients(cluster, async (client, name, at) => {
    const { random } = client;
    const id = random.pick(ids);
    const unique = `${name}.${at}`;
    const isRead = random.chance(world.swarm.cluster.readShare);
    const operation = isRead ? kind.read : kind.draw(random, unique, seen.get(`${name} ${id.key}`) ?? kind.initial);
    const message: CellMessage<Op> = {
      kind: operation.kind,
      operation,
      unique,
      waits: random.chance(0.2) ? random.between(1, 50) : 0,
    };
    const called = world.moment();
    const settled = await client.request<unknown>({
      id,
      message,
      // A read without an id leaves no record, so it is answered from memory where that is allowed.
      ...(isRead && random.chance(0.8) ? {} : { invocationId: unique }),
    });
    if (settled.kind === "reply") {
      histories.get(id.key)!.push({ called, returned: world.moment(), input: operation, output: settled.reply });
      if (isRead) seen.set(`${name} ${id.key}`, settled.reply as Value);
    } else if (settled.kind === "unknown" && !isRead)
      histories.get(id.key)!.push({ called, returned: Infinity, input: operation, output: undefined });
  });
  for (const id of ids) await checkHistory(world, kind, id, histories.get(id.key)!);
}

export function readOf<Value, Op extends CellOperation>({ read }: CellKind<Value, Op>): CellMessage<Op> {
  return { kind: read.kind, operation: read, unique: "afterwards", waits: 0 };
}

async function checkHistory<Value, Op extends CellOperation>(
  world: World,
  kind: CellKind<Value, Op>,
  id: ActorId,
  history: readonly Operation<Op, unknown>[],
): Promise<void> {
  const end = world.moment();
  const stored = (await storedRow<Value>(world, id, ["value"])) ?? kind.initial;
  const last: Operation<Op, unknown> = { called: end, returned: end, input: kind.read, output: stored };
  const result = checkLinearizable(modelOf(kind), [...history, last], stepsMax);
  if (result.verdict === "unknown") world.countProbe("history too hard");
  if (result.verdict === "not linearizable")
    world.violation(
      `The history of ${id.key} is not linearizable: no order has a place for ${JSON.stringify(result.stuckAt)} in ${JSON.stringify(history)}`,
    );
}

function modelOf<Value, Op extends CellOperation>(kind: CellKind<Value, Op>): SequentialModel<Value, Op, unknown> {
  return {
    init: kind.initial,
    step: (state, input, output) => {
      const { value, reply } = kind.apply(state, input);
      return output === undefined || JSON.stringify(reply) === JSON.stringify(output) ? { state: value } : undefined;
    },
    key: (state) => JSON.stringify(state),
    isRead: (input) => input.kind === "read",
    kind: (input) => kind.effectOf(input),
  };
}

function cellType<Value, Op extends CellOperation>(kind: CellKind<Value, Op>, incarnation: Incarnation): ActorType {
  return { type: "cell", create: (activation) => new Cell(kind, incarnation, activation) as Actor };
}

class Cell<Value, Op extends CellOperation> implements Actor<CellMessage<Op>, unknown> {
  readonly #kind: CellKind<Value, Op>;
  readonly #incarnation: Incarnation;
  readonly #activation: Activation;
  #value: Value;

  constructor(kind: CellKind<Value, Op>, incarnation: Incarnation, activation: Activation) {
    this.#kind = kind;
    this.#incarnation = incarnation;
    this.#activation = activation;
    this.#value = kind.initial;
  }

  async activate(): Promise<void> {
    const { handedOver, state } = this.#activation;
    if (handedOver !== undefined) this.#incarnation.environment.probe("cells.handedOver");
    const given = handedOver as { readonly value: Value } | undefined;
    this.#value = given === undefined ? ((await state.get<Value>(["value"])) ?? this.#kind.initial) : given.value;
  }

  async receive({ operation, waits }: CellMessage<Op>, turn: Turn): Promise<unknown> {
    const { value, reply } = this.#kind.apply(this.#value, operation);
    if (waits > 0) await this.#incarnation.environment.clock.sleep(waits, turn.signal);
    turn.signal.throwIfAborted();
    if (JSON.stringify(value) !== JSON.stringify(this.#value)) turn.state.set(["value"], value);
    this.#value = value;
    return reply;
  }

  handOver(): unknown {
    return { value: this.#value };
  }
}
