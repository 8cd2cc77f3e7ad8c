/**
 * Makes a failing run small: fewer faults and operations, a calmer world, fewer nodes and clients.
 *
 * H1. Each step is kept only if the run still fails in the same way, so what comes out fails as what went in did.
 */
import { type Fixture, type FixtureOptions, isGroup, runFixture } from "./fixture.ts";

/** Tries that are enough for the largest run; past them the best so far is the answer. */
const runsMax = 3_000;

export interface Shrunk {
  readonly fixture: Fixture;
  /** Runs that it took. */
  readonly runs: number;
}

/** Shrinks a run that fails. `onStep` is told of each smaller one. */
export async function shrink(failing: Fixture, onStep: (fixture: Fixture, runs: number) => void = () => {}): Promise<Shrunk> {
  const shrinking = new Shrinking(failing, onStep);
  let before: Fixture;
  do {
    before = shrinking.best;
    await shrinking.takeAway("operations");
    await shrinking.takeAway("faults");
    await shrinking.makePlain();
    for (const count of ["processes", "clients", "keys", "operationsPerClient"] as const) await shrinking.lower(count);
  } while (shrinking.best !== before && shrinking.runs < runsMax);
  return { fixture: shrinking.best, runs: shrinking.runs };
}

/** What a violation is about, without the names and numbers of the run that it was found in. */
export function kindOfViolation(violation: string): string {
  const [head = ""] = violation.split("\n")[0]!.split(/[:{[(]/u);
  // A label such as J6 says more than the names after it.
  if (/^[A-Z]\d+$/u.test(head)) return head;
  return head
    .replace(/"[^"]*"/gu, "…")
    .replace(/\S*\d\S*/gu, "#")
    .trim();
}

class Shrinking {
  best: Fixture;
  runs = 0;
  readonly #kind: string;
  readonly #onStep: (fixture: Fixture, runs: number) => void;

  constructor(failing: Fixture, onStep: (fixture: Fixture, runs: number) => void) {
    this.best = failing;
    this.#kind = kindOfViolation(failing.violation);
    this.#onStep = onStep;
  }

  /** Runs a candidate; where it fails in the same way it is the best one, without the parts that it did not come to. */
  async try(candidate: Fixture): Promise<boolean> {
    if (this.runs >= runsMax || JSON.stringify(candidate) === JSON.stringify(this.best)) return false;
    this.runs++;
    const { violations, parts } = await runFixture(candidate);
    const violation = violations.find((each) => kindOfViolation(each) === this.#kind);
    if (violation === undefined) return false;
    this.best = { ...candidate, violation, faults: parts.faults, operations: parts.operations };
    this.#onStep(this.best, this.runs);
    return true;
  }

  /** Delta debugging: takes away all, then halves, quarters and so on, down to one by one. */
  async takeAway(part: "faults" | "operations"): Promise<void> {
    for (let size = this.best[part].length; size >= 1; size = Math.floor(size / 2)) {
      let at = 0;
      while (at < this.best[part].length) {
        const left = this.best[part].toSpliced(at, size);
        if (!(await this.try({ ...this.best, [part]: left }))) at += size;
      }
    }
  }

  /** Takes options away one by one: what a fixture does not name is as plain as can be. */
  async makePlain(): Promise<void> {
    const { crash: _, ...withoutCrash } = this.best;
    await this.try(withoutCrash);
    for (const name of Object.keys(this.best.options) as (keyof FixtureOptions)[]) {
      const option = this.best.options[name];
      if ((await this.try({ ...this.best, options: without(this.best.options, name) })) || !isGroup(option)) continue;
      for (const part of Object.keys(option)) {
        const group = this.best.options[name] as typeof option;
        await this.try({ ...this.best, options: { ...this.best.options, [name]: without(group, part) } });
      }
    }
  }

  async lower(count: "processes" | "clients" | "keys" | "operationsPerClient"): Promise<void> {
    const now = this.best.options[count] ?? 1;
    for (let lower = 1; lower < now; lower++)
      if (await this.try({ ...this.best, options: { ...this.best.options, [count]: lower } })) return;
  }
}

function without<T extends object>(whole: T, name: string): T {
  return Object.fromEntries(Object.entries(whole).filter(([each]) => each !== name)) as T;
}
