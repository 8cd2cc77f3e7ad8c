/**
 * How much of what can go wrong the simulation has tried: six measures, each with its target.
 *
 * (a) critical probes, each reached 20 times at least; (b) the other probes, which stand for "this sometimes holds";
 * (c) crashes at every crossing of the reference scenarios; (d) faults soon before critical probes, as pairs; (e) branches
 * that V8 counted in the code under test; (f) planted bugs that were found.
 */
import type { BranchCoverage } from "./branches.ts";
import { type ProbeSite, probeSites } from "./probe-sites.ts";
import type { Totals } from "./tally.ts";

const hitsMin = 20;
const branchesMin = 0.95;

interface Measure {
  readonly reached: number;
  readonly of: number;
  readonly isMet: boolean;
}

export interface CoverageReport {
  readonly criticalProbes: Measure & { readonly probes: readonly (ProbeSite & { readonly hits: number })[] };
  readonly sometimes: Measure & { readonly probes: readonly (ProbeSite & { readonly hits: number })[] };
  readonly crashPoints: Measure & { readonly sweeps: number; readonly byKind: { readonly [kind: string]: number } };
  /** `of` counts pairs whose fault and probe occur in one workload; `ofAll` those of any fault with any critical probe. */
  readonly pairs: Measure & { readonly ofAll: number; readonly missing: readonly string[] };
  readonly branches: Measure & { readonly files: readonly BranchCoverage[] };
  readonly mutants: Measure & { readonly missed: readonly string[] };
}

export interface CoverageInput {
  readonly total: Totals;
  readonly workloads: readonly Totals[];
  readonly branches: readonly BranchCoverage[];
  readonly mutants: readonly { readonly mutant: string; readonly isFound: boolean }[];
}

export function coverageReport({ total, workloads, branches, mutants }: CoverageInput): CoverageReport {
  const probes = probeSites().map((site) => ({ ...site, hits: total.probes[site.name] ?? 0 }));
  const critical = probes.filter((probe) => probe.isCritical);
  const others = probes.filter((probe) => !probe.isCritical);
  const possible = possiblePairs(workloads, new Set(critical.map((probe) => probe.name)));
  const missing = [...possible].filter((pair) => total.pairs[pair] === undefined);
  const names = new Set(critical.map((probe) => probe.name));
  const missed = mutants.filter((each) => !each.isFound).map((each) => each.mutant);
  return {
    criticalProbes: { ...measure(critical.filter((probe) => probe.hits >= hitsMin).length, critical.length), probes: critical },
    sometimes: { ...measure(others.filter((probe) => probe.hits > 0).length, others.length), probes: others },
    crashPoints: {
      ...measure(
        total.points,
        Object.values(total.crossings).reduce((all, count) => all + count, 0),
      ),
      sweeps: total.sweeps,
      byKind: total.crossings,
    },
    pairs: {
      ...measure(possible.size - missing.length, possible.size),
      ofAll: Object.keys(total.faults).length * names.size,
      missing: missing.toSorted(),
    },
    branches: {
      ...measure(sum(branches, "covered"), sum(branches, "branches"), branchesMin),
      files: branches.toSorted((left, right) => left.covered / left.branches - right.covered / right.branches),
    },
    mutants: { ...measure(mutants.length - missed.length, mutants.length), missed },
  };
}

export function coverageText(report: CoverageReport): string {
  const { criticalProbes, sometimes, crashPoints, pairs, branches, mutants } = report;
  const lacking = branches.files.filter((file) => file.covered / file.branches < branchesMin);
  const kinds = Object.entries(crashPoints.byKind).map(([kind, count]) => `${kind} ${count}`);
  return [
    line("a", "critical probes reached 20 times", criticalProbes),
    ...criticalProbes.probes.map(
      (probe) => `       ${String(probe.hits).padStart(9)}  ${probe.name}${probe.hits < hitsMin ? `  SHORT (${probe.at})` : ""}`,
    ),
    line("b", "what sometimes holds", sometimes),
    ...sometimes.probes.map(
      (probe) => `       ${String(probe.hits).padStart(9)}  ${probe.name}${probe.hits === 0 ? `  NEVER (${probe.at})` : ""}`,
    ),
    line("c", "crossings of the swept runs that were crash points", crashPoints),
    `       of ${crashPoints.sweeps} small runs: ${kinds.join(", ")}`,
    line("d", "pairs of a fault and a critical probe", pairs),
    `       of all faults with all critical probes: ${percent(pairs.reached, pairs.ofAll)}; missing: ${some(pairs.missing)}`,
    line("e", "branches of src/actors, src/cluster and src/agents", branches),
    ...lacking.map((file) => `       ${percent(file.covered, file.branches)}  ${file.file}, lines ${some(file.lines.map(String))}`),
    line("f", "planted bugs that were found", mutants),
    ...mutants.missed.map((name) => `       not found: ${name}`),
  ].join("\n");
}

/** A pair can be seen where some workload has both the fault and the probe. */
function possiblePairs(workloads: readonly Totals[], critical: ReadonlySet<string>): Set<string> {
  return new Set(
    workloads.flatMap(({ faults, probes }) => {
      const reached = Object.keys(probes).filter((name) => critical.has(name));
      return Object.keys(faults).flatMap((fault) => reached.map((probe) => `${fault} × ${probe}`));
    }),
  );
}

function measure(reached: number, of: number, share = 1): Measure {
  return { reached, of, isMet: reached >= of * share };
}

function sum(files: readonly BranchCoverage[], name: "branches" | "covered"): number {
  return files.reduce((total, file) => total + file[name], 0);
}

function line(letter: string, what: string, { reached, of, isMet }: Measure): string {
  return `(${letter}) ${what}: ${reached} of ${of} (${percent(reached, of)}), ${isMet ? "reached" : "FALLS SHORT"}`;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "none" : `${((100 * part) / whole).toFixed(1).padStart(5)} %`;
}

function some(texts: readonly string[]): string {
  return texts.length <= 12 ? texts.join(", ") || "none" : `${texts.slice(0, 12).join(", ")} and ${texts.length - 12} more`;
}
