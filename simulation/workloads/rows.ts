/**
 * Actors whose turns are small programs over their own rows: set, delete, get, and list in pages and both directions.
 *
 * The rows are in memory, in batches on their way and in the store at the same time, so every answer is compared with
 * a plain sorted map. A program that changes something also takes a place in the actor's journal; the journal that is
 * stored in the end says which programs with an unknown outcome happened, and the rows have to be what it makes them.
 */
import type { Activation, Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { decodeJson } from "../../src/base/json.ts";
import { decodeTuple, tupleRange } from "../../src/base/tuple.ts";
import { ActorCluster, project, runClients, storedRow } from "../actor-cluster.ts";
import { checkLinearizable, type Operation, type SequentialModel } from "../linearizability.ts";
import type { RandomStream } from "../random.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

/** The last two elements of a row's key: single digits, so that their text sorts like their tuple. */
type Place = readonly [number, number];

type Step =
  | { readonly kind: "set"; readonly place: Place; readonly value: string }
  | { readonly kind: "delete"; readonly place: Place }
  | { readonly kind: "get"; readonly place: Place }
  /** Reads outside the turn while it goes on, for nothing: it must not change what anybody sees later. */
  | { readonly kind: "peek"; readonly place: Place }
  | { readonly kind: "list"; readonly first?: number; readonly limit: number; readonly reverse: boolean; readonly after?: Place };

interface Program {
  readonly entry: string;
  readonly steps: readonly Step[];
}

/** What the reads of a program saw, and its place in the journal if it changed something. */
interface Result {
  readonly seen: readonly unknown[];
  readonly position: number | null;
}

interface State {
  readonly rows: ReadonlyMap<string, string>;
  readonly programs: number;
}

const model: SequentialModel<State, Program, Result> = {
  init: { rows: new Map(), programs: 0 },
  step: (state, program, output) => {
    const rows = new Map(state.rows);
    const seen = program.steps.flatMap((step) => applyToMap(rows, step));
    const position = changes(program) ? state.programs : null;
    // Of a program whose reply was lost, only the place in the journal is known.
    const fits =
      output === undefined ||
      (output.position === position && (output.seen === lost || JSON.stringify(output.seen) === JSON.stringify(seen)));
    return fits ? { state: { rows, programs: state.programs + (position === null ? 0 : 1) } } : undefined;
  },
  key: (state) => JSON.stringify([state.programs, [...state.rows].toSorted()]),
  isRead: (program) => !changes(program),
  kind: (program) => program.entry,
};

const lost: readonly unknown[] = ["lost"];

export const rows: Workload = {
  name: "rows",
  checks: "what turns see of their own rows, in memory and in the store, is what a sorted map would show",
  run: async (world) => {
    const cluster = new ActorCluster(world, () => [
      { type: "rows", create: (activation) => new RowsActor(activation) as Actor } satisfies ActorType,
    ]);
    const ids = Array.from({ length: Math.min(2, world.swarm.keys) }, (_, at): ActorId => ({ project, type: "rows", key: `rows-${at}` }));
    const histories = new Map<string, Operation<Program, Result>[]>(ids.map(({ key }) => [key, []]));
    const programs = new Map<string, Program>();
    await runClients(cluster, async (client, name, operation) => {
      const id = client.random.pick(ids);
      const program = drawProgram(client.random, `${name}.${operation}`);
      programs.set(program.entry, program);
      const called = world.moment();
      const settled = await client.request<Result>({ id, message: program, ...(changes(program) ? { invocationId: program.entry } : {}) });
      const returned = world.moment();
      if (settled.kind === "reply") histories.get(id.key)!.push({ called, returned, input: program, output: settled.reply });
      else if (settled.kind === "unknown" && changes(program))
        histories.get(id.key)!.push({ called, returned: Infinity, input: program, output: undefined });
    });
    for (const id of ids) await check(world, id, histories.get(id.key)!, programs);
  },
};

async function check(
  world: World,
  id: ActorId,
  history: readonly Operation<Program, Result>[],
  programs: ReadonlyMap<string, Program>,
): Promise<void> {
  const journal: string[] = [];
  const count = (await storedRow<number>(world, id, ["programs"])) ?? 0;
  for (let at = 0; at < count; at++) journal.push((await storedRow<string>(world, id, ["journal", at])) ?? "");
  const end = world.moment();
  const settled = history.flatMap((operation): Operation<Program, Result>[] => {
    if (operation.returned !== Infinity) return [operation];
    const position = journal.indexOf(operation.input.entry);
    return position < 0 ? [] : [{ ...operation, returned: end, output: { seen: lost, position } }];
  });
  const result = checkLinearizable(model, settled);
  if (result.verdict === "unknown") world.violation(`The history of ${id.key} was too hard to check`);
  if (result.verdict === "not linearizable")
    world.violation(
      `The history of ${id.key} is not linearizable: no order has a place for ${JSON.stringify(result.stuckAt)} in ${JSON.stringify(settled)}`,
    );

  const expected = new Map<string, string>();
  for (const entry of journal) {
    const program = programs.get(entry);
    if (program === undefined) world.violation(`The journal of ${id.key} names ${JSON.stringify(entry)}, which nobody sent`);
    for (const step of program?.steps ?? []) applyToMap(expected, step);
  }
  const [answer] = await world.disk.read([{ ...tupleRange([id.project, "state", id.type, id.key, "row"]), limit: 1_000 }]);
  const stored = answer!.map((entry) => [decodeTuple(entry.key).slice(-2).join(), decodeJson<string>(entry.value)]);
  if (JSON.stringify(stored) !== JSON.stringify([...expected].toSorted()))
    world.violation(
      `The rows of ${id.key} are ${JSON.stringify(stored)}, but its journal makes them ${JSON.stringify([...expected].toSorted())}`,
    );
}

class RowsActor implements Actor<Program, Result> {
  readonly #activation: Activation;

  constructor(activation: Activation) {
    this.#activation = activation;
  }

  async receive(program: Program, turn: Turn): Promise<Result> {
    const seen: unknown[] = [];
    for (const step of program.steps) {
      if (step.kind === "set") turn.state.set(["row", ...step.place], step.value);
      else if (step.kind === "delete") turn.state.delete(["row", ...step.place]);
      else if (step.kind === "peek") this.#activation.state.get(["row", ...step.place]).catch(() => {});
      else if (step.kind === "get") seen.push((await turn.state.get<string>(["row", ...step.place])) ?? null);
      else {
        const prefix = step.first === undefined ? ["row"] : ["row", step.first];
        const after = step.after === undefined ? {} : { after: ["row", ...step.after] };
        const listed = await turn.state.list<string>(prefix, { limit: step.limit, reverse: step.reverse, ...after });
        seen.push(listed.map((row) => [row.key.slice(1).join(), row.value]));
      }
    }
    if (!changes(program)) return { seen, position: null };
    const position = (await turn.state.get<number>(["programs"])) ?? 0;
    turn.state.set(["journal", position], program.entry);
    turn.state.set(["programs"], position + 1);
    return { seen, position };
  }
}

/** Does to a map what a step does to rows; gives what a read saw. */
function applyToMap(map: Map<string, string>, step: Step): unknown[] {
  if (step.kind === "set") map.set(step.place.join(), step.value);
  else if (step.kind === "delete") map.delete(step.place.join());
  else if (step.kind === "get") return [map.get(step.place.join()) ?? null];
  else if (step.kind === "list") {
    const { first, limit, reverse, after } = step;
    let found = [...map].toSorted().filter(([place]) => first === undefined || place.startsWith(`${first},`));
    if (reverse) found.reverse();
    if (after !== undefined) found = found.filter(([place]) => (reverse ? place < after.join() : place > after.join()));
    return [found.slice(0, limit)];
  }
  return [];
}

function changes(program: Program): boolean {
  return program.steps.some((step) => step.kind === "set" || step.kind === "delete");
}

function drawProgram(random: RandomStream, entry: string): Program {
  const place = (): Place => [random.below(3), random.below(4)];
  const isReading = random.chance(0.3);
  const steps = Array.from({ length: random.between(1, 6) }, (_, at): Step => {
    const kind = random.pick(isReading ? (["get", "list"] as const) : (["set", "set", "delete", "get", "peek", "list"] as const));
    if (kind === "set") return { kind, place: place(), value: `${entry}/${at}` };
    if (kind !== "list") return { kind, place: place() };
    const first = random.chance(0.5) ? { first: random.below(3) } : {};
    const after = random.chance(0.4) ? { after: [first.first ?? random.below(3), random.below(4)] as const } : {};
    return { kind, limit: random.between(1, 6), reverse: random.chance(0.5), ...first, ...after };
  });
  return { entry, steps };
}
