/** What the clients of the objects saw, and whether it can have been so. */
import { checkLinearizable, type Operation, type Verdict } from "../../simulation/linearizability.ts";
import { type Call, type Kind, models, type ObjectReply, type Output } from "./objects.ts";

export type Entry = Operation<Call, Output> & { readonly client: string; readonly through: string };
export type BadHistory = { readonly object: string; readonly stuckAt: Operation<Call, Output>; readonly history: readonly Entry[] };

export interface HistoryVerdict {
  readonly operations: number;
  readonly unknown: number;
  readonly checked: number;
  readonly bad: readonly BadHistory[];
  /** Histories for which the checker's budget did not suffice. */
  readonly undecided: readonly string[];
  /** Acknowledged changes that the last read does not show. */
  readonly lost: readonly string[];
}

const stepsMax = 1_000_000;

export class Histories {
  readonly #entries = new Map<string, Entry[]>();
  readonly #owners = new Map<string, string>();
  /** Answers that no fault explains. */
  readonly problems: string[] = [];

  get objects(): readonly string[] {
    return [...this.#entries.keys()];
  }

  add(object: string, entry: Entry): void {
    const entries = this.#entries.get(object);
    if (entries === undefined) this.#entries.set(object, [entry]);
    else entries.push(entry);
  }

  answered(object: string, { node }: ObjectReply): void {
    this.#owners.set(object, node);
  }

  /** Those of the objects that this incarnation answered for last. */
  ownedBy(incarnation: string, objects: readonly string[]): readonly string[] {
    return objects.filter((object) => this.#owners.get(object) === incarnation);
  }

  verdict(): HistoryVerdict {
    const bad: BadHistory[] = [];
    const undecided: string[] = [];
    const lost: string[] = [];
    let [operations, unknown] = [0, 0];
    for (const [object, history] of this.#entries) {
      operations += history.length;
      unknown += history.filter(({ returned }) => returned === Infinity).length;
      const outcome: Verdict<Call, Output> = checkLinearizable(models[kindOf(object)], history, stepsMax);
      if (outcome.verdict === "not linearizable") bad.push({ object, stuckAt: outcome.stuckAt, history });
      else if (outcome.verdict === "unknown") undecided.push(object);
      lost.push(...lostIn(object, history));
    }
    return { operations, unknown, checked: this.#entries.size, bad, undecided, lost };
  }
}

export function kindOf(object: string): Kind {
  return object.slice(0, object.indexOf("/")) as Kind;
}

/** What was acknowledged and is not in what was read after everything. A register keeps only its last value. */
function lostIn(object: string, history: readonly Entry[]): string[] {
  const known = history.filter(({ returned }) => returned !== Infinity);
  const last = known
    .filter(({ input }) => input.method === "read")
    .reduce<Entry | undefined>((newest, entry) => (newest === undefined || entry.called > newest.called ? entry : newest), undefined);
  if (last === undefined) return [];
  const before = known.filter(({ input, returned }) => input.method !== "read" && returned < last.called);
  if (kindOf(object) === "counter") {
    const sum = before.reduce((total, { input }) => total + input.value, 0);
    return Number(last.output!.text) < sum ? [`${object}: ${sum} was acknowledged, and it is ${last.output!.text}`] : [];
  }
  if (kindOf(object) !== "list") return [];
  const items = new Set(last.output!.text.split(","));
  return before
    .filter(({ input }) => !items.has(String(input.value)))
    .map(({ input }) => `${object}: ${input.value} was acknowledged, and is not in it`);
}
