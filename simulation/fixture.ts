/**
 * A run as data: what a failure was shrunk to, kept under `corpus/` and run with every change.
 *
 * A seed stops showing its bug as soon as anything draws once more. A fixture names the options, faults and operations
 * themselves, and what it does not name never happens.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mutantNamed, workloadNamed } from "./catalogue.ts";
import type { CrashPlan } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { type RunOptions, type RunReport, simulate } from "./run.ts";
import { drawSwarm, type SwarmOptions, withoutFaults } from "./swarm.ts";

/** Options of a run that are not the plain ones. Of a group, such as `storeFaults`, only those parts. */
export type FixtureOptions = { readonly [Name in keyof SwarmOptions]?: Partial<SwarmOptions[Name]> };

export const fixtureVersion = 1;

export interface Fixture {
  readonly version: typeof fixtureVersion;
  readonly workload: string;
  /** The planted bug that is to be found. Absent: the bug was fixed, and nothing may be found. */
  readonly mutant?: string;
  /** What was found when the fixture was made. */
  readonly violation: string;
  readonly seed: number;
  readonly crash?: CrashPlan;
  readonly options: FixtureOptions;
  /** Kind, place, number: the only faults that happen. */
  readonly faults: readonly string[];
  /** Client, operation: the only ones that are done. */
  readonly operations: readonly string[];
}

/** A run that failed, with all that happened in it. */
export function fixtureOf({ workload, mutant, seed, crashPlan }: RunOptions, report: RunReport): Fixture {
  return {
    version: fixtureVersion,
    workload: workload.name,
    ...(mutant === undefined ? {} : { mutant: mutant.name }),
    violation: report.violations[0]!,
    seed,
    ...(crashPlan === undefined ? {} : { crash: crashPlan }),
    options: report.options,
    ...report.parts,
  };
}

const corpusFolder = new URL("corpus/", import.meta.url);

/** The files of the corpus, by name. */
export function corpusFiles(): readonly URL[] {
  const names = readdirSync(corpusFolder).filter((name) => name.endsWith(".json"));
  return names.toSorted().map((name) => new URL(name, corpusFolder));
}

/** A planted bug has one fixture; one that was met has as many as there are seeds that showed it. */
export function fixtureFile(fixture: Fixture): URL {
  return new URL(`${fixture.mutant ?? `${fixture.workload}-${fixture.seed}`}.json`, corpusFolder);
}

export function fixtureName(file: URL): string {
  return file.pathname.slice(file.pathname.lastIndexOf("/") + 1);
}

export function writeFixture(file: URL, fixture: Fixture): void {
  writeFileSync(file, `${JSON.stringify(fixture, undefined, 2)}\n`);
}

/**
 * Reads a fixture.
 *
 * @throws {RangeError} There is no such file, or it is none that this version can run. Says what is wrong with it.
 */
export function readFixture(file: URL | string): Fixture {
  const name = typeof file === "string" ? file : fixtureName(file);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new RangeError(`Cannot read the fixture ${name}: ${(error as Error).message}`, { cause: error });
  }
  const flaw = flawOf(value);
  if (flaw !== undefined) throw new RangeError(`The fixture ${name} cannot be run: ${flaw}`);
  return value as Fixture;
}

/** Runs a fixture. */
export async function runFixture(fixture: Fixture, linesMax = 0): Promise<RunReport> {
  return await simulate({
    workload: workloadNamed(fixture.workload),
    seed: fixture.seed,
    linesMax,
    kept: fixture,
    options: (drawn) => optionsOf(fixture, drawn),
    ...(fixture.mutant === undefined ? {} : { mutant: mutantNamed(fixture.mutant) }),
    ...(fixture.crash === undefined ? {} : { crashPlan: fixture.crash }),
  });
}

/** Whether a fixture no longer finds its planted bug: the steps of the code have changed, or a check sees less. */
export function isStale(fixture: Fixture, report: RunReport): boolean {
  return fixture.mutant !== undefined && report.violations.length === 0;
}

/** A world with nothing in it that makes a run hard to read. */
const plainOptions = {
  processes: 1,
  clients: 1,
  keys: 1,
  operationsPerClient: 1,
  thinkMilliseconds: 0,
  burstMilliseconds: 0,
  stickiness: 1,
  storeLatencyMilliseconds: { lowest: 0, highest: 0 },
  restartAfterMilliseconds: 1,
  clockOffsetMilliseconds: 0,
  idleMilliseconds: 60_000,
  liveMax: 1_000,
  mailboxMax: 1_000,
  cachedRows: 1_000,
  patienceMilliseconds: 20_000,
  isCalm: false,
  faultsUntil: 20_000,
} as const satisfies Partial<SwarmOptions>;

/** The whole options of a fixture. Those that neither it nor the plain ones name are drawn from its seed, without faults. */
function optionsOf(fixture: Fixture, drawn: SwarmOptions): SwarmOptions {
  const options: { [name: string]: unknown } = { ...withoutFaults(drawn), ...plainOptions };
  for (const [name, option] of Object.entries(fixture.options))
    options[name] = isGroup(option) ? { ...(options[name] as object), ...option } : option;
  return options as unknown as SwarmOptions;
}

/** Whether an option has parts, each of which may be named or not. */
export function isGroup(option: unknown): option is { readonly [name: string]: unknown } {
  return typeof option === "object" && option !== null && !Array.isArray(option);
}

function flawOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return "it is not an object";
  const fixture = value as { readonly [field: string]: unknown };
  if (fixture["version"] !== fixtureVersion)
    return `its version is ${JSON.stringify(fixture["version"])}, and this command runs version ${fixtureVersion}`;
  const { seed, crash } = fixture;
  if (!Number.isSafeInteger(seed) || (seed as number) < 0) return `its seed is ${JSON.stringify(seed)}, not a whole number`;
  for (const field of ["faults", "operations"]) if (!isTexts(fixture[field])) return `its ${field} are not a list of texts`;
  for (const field of ["workload", "violation"]) if (typeof fixture[field] !== "string") return `its ${field} is not a text`;
  if (fixture["mutant"] !== undefined && typeof fixture["mutant"] !== "string") return "its mutant is not a text";
  if (crash !== undefined && !(isGroup(crash) && typeof crash["process"] === "string" && typeof crash["crossing"] === "number"))
    return "its crash is not a process and a crossing";
  const optionFlaw = flawOfOptions(fixture["options"], drawSwarm(new KeyedRandom(seed as number)), "options");
  if (optionFlaw !== undefined) return optionFlaw;
  try {
    workloadNamed(fixture["workload"] as string);
    if (fixture["mutant"] !== undefined) mutantNamed(fixture["mutant"] as string);
  } catch (error) {
    return (error as Error).message;
  }
  return undefined;
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

/** Every option has to be one that a run has, and of its kind. */
function flawOfOptions(value: unknown, example: unknown, name: string): string | undefined {
  if (!isGroup(example))
    return typeof value === typeof example && Array.isArray(value) === Array.isArray(example) ? undefined : notLike(value, example, name);
  if (!isGroup(value)) return notLike(value, example, name);
  for (const [part, each] of Object.entries(value)) {
    if (!Object.hasOwn(example, part)) return `its ${name} have no ${JSON.stringify(part)}`;
    const flaw = flawOfOptions(each, example[part], part);
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}

function notLike(value: unknown, example: unknown, name: string): string {
  return `its ${name} is ${JSON.stringify(value)}, where something like ${JSON.stringify(example).slice(0, 100)} is expected`;
}
