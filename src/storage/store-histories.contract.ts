/** The part of the contract of stores that nobody can list: histories of concurrent clients, and any batches against a model. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { checkLinearizable, type Operation, type SequentialModel } from "../../simulation/linearizability.ts";
import { compareBytes, equalBytes } from "../base/bytes.ts";
import { bytes, hex, set, type StoreHarness, text, turnOfTheLoop } from "./store-harness.contract.ts";
import type { Check, Entry, Key, Query, Version, Write } from "./store.ts";

export function describeHistories(harness: StoreHarness): void {
  const { space, commit, get } = harness;

  describe("histories", () => {
    for (const seed of [1, 2, 3])
      test(`32 clients that read, write and compare a register have a linearizable history (seed ${seed})`, async () => {
        const at = space();
        const history = await recordHistory(seed, 32, 30, registerInput, async (input, seen) => {
          if (input.kind === "read") {
            const entry = await get(at("r"));
            seen.version = entry?.version ?? null;
            return { value: text(entry?.value ?? bytes("")), version: seen.version };
          }
          const checks = input.kind === "compare" ? [{ key: at("r"), version: seen.version }] : [];
          const outcome = await commit([set(at("r"), input.value)], checks);
          return { compared: checks[0]?.version, version: outcome.ok ? outcome.version : undefined };
        });
        assert.equal(checkLinearizable(register, history.map(asConflict)).verdict, "linearizable");
      });

    for (const seed of [4, 5, 6])
      test(`32 clients that append to a list have a linearizable history (seed ${seed})`, async () => {
        const at = space();
        let appended = 0;
        const history = await recordHistory(seed, 32, 20, listInput, async (input) => {
          const entry = await get(at("l"));
          const list = text(entry?.value ?? bytes(""));
          if (input.kind === "read") return list;
          const outcome = await commit([set(at("l"), `${list}${input.value},`)], [{ key: at("l"), version: entry?.version ?? null }]);
          if (outcome.ok) appended++;
          return outcome.ok ? outcome.version : undefined;
        });
        // A conflict only tells that somebody else appended.
        const told = history.filter(({ output }) => output !== undefined);
        assert.equal(checkLinearizable(list, told).verdict, "linearizable");
        assert.equal(text((await get(at("l")))!.value).split(",").length - 1, appended);
      });
  });

  test("the store does what a simple model does, for any batches and reads, also when opened again", async () => {
    const property = fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 30 }), async (steps) => {
      await commit([{ kind: "deleteRange", begin: Buffer.alloc(0), end: Buffer.alloc(12, 0xff) }]);
      const model = new StoreModel();
      for (const step of steps) {
        if (step.kind === "reopen") {
          await harness.reopen();
        } else if (step.kind === "read") {
          const answers = await harness.store.read(step.queries);
          assert.deepEqual(
            answers.map((answer) => answer.map(entryText)),
            step.queries.map((query) => model.read(query).map(entryText)),
          );
        } else {
          const checks = step.checks.map(({ key, age }): Check => ({ key, version: model.versionOf(key, age) }));
          const outcome = await commit(step.writes, checks);
          assert.deepEqual(outcome.ok ? -1 : outcome.failedCheck, model.failedCheck(checks));
          if (outcome.ok) model.apply(step.writes, outcome.version);
        }
      }
      const everything: Query = { begin: Buffer.alloc(0), end: Buffer.alloc(12, 0xff), limit: 10_000 };
      assert.deepEqual((await harness.store.read([everything]))[0]!.map(entryText), model.read(everything).map(entryText));
    });
    await fc.assert(property, { numRuns: 100 });
  });
}

/** A client compares with the version that it read last. */
type RegisterInput =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: string }
  | { readonly kind: "compare"; readonly value: string };

interface RegisterOutput {
  readonly value?: string;
  /** The version that was checked, if one was. */
  readonly compared?: Version | null | undefined;
  /** Of what was read or written; of a conflict, none. */
  readonly version: Version | null | undefined;
}

type RegisterOperation = Operation<RegisterInput | { readonly kind: "conflict" }, RegisterOutput>;

/** A conflict changes nothing and tells of the version, as a read does, so the search may take it wherever it fits. */
function asConflict(operation: Operation<RegisterInput, RegisterOutput>): RegisterOperation {
  return operation.output?.version === undefined ? { ...operation, input: { kind: "conflict" } } : operation;
}

interface RegisterState {
  readonly value: string;
  readonly version: Version | null;
}

const register: SequentialModel<RegisterState, RegisterOperation["input"], RegisterOutput> = {
  init: { value: "", version: null },
  step(state, input, output) {
    assert.ok(output !== undefined, "No outcome is unknown here");
    const { value, compared, version } = output;
    if (input.kind === "read") return version === state.version && value === state.value ? { state } : undefined;
    if (input.kind === "conflict") return compared === state.version ? undefined : { state };
    if (compared !== undefined && compared !== state.version) return undefined;
    // S3: who writes later has the greater version.
    return version != null && version > (state.version ?? 0) ? { state: { value: input.value, version } } : undefined;
  },
  key: (state) => `${state.version} ${state.value}`,
  isRead: (input) => input.kind === "read" || input.kind === "conflict",
  kind: (input) => JSON.stringify(input),
  rank: (output) => output.version ?? 0,
};

function registerInput(random: () => number): RegisterInput {
  const value = String(Math.floor(random() * 5));
  if (random() < 0.4) return { kind: "read" };
  return random() < 0.5 ? { kind: "write", value } : { kind: "compare", value };
}

type ListInput = { readonly kind: "read" } | { readonly kind: "append"; readonly value: number };

/** A read gives the list, an append its version. */
const list: SequentialModel<string, ListInput, string | Version | undefined> = {
  init: "",
  step(state, input, output) {
    if (input.kind === "read") return output === state ? { state } : undefined;
    return { state: `${state}${input.value},` };
  },
  key: (state) => state,
  isRead: (input) => input.kind === "read",
  kind: (input) => JSON.stringify(input),
  rank: (output) => (typeof output === "number" ? output : 0),
};

function listInput(random: () => number): ListInput {
  return random() < 0.3 ? { kind: "read" } : { kind: "append", value: Math.floor(random() * 1_000_000) };
}

/** What `clients` saw who each did `rounds` operations, one after the other, at moments that the seed chooses. */
async function recordHistory<Input, Output>(
  seed: number,
  clients: number,
  rounds: number,
  input: (random: () => number) => Input,
  perform: (input: Input, seen: { version: Version | null }) => Promise<Output>,
): Promise<Operation<Input, Output>[]> {
  let state = seed;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  const history: Operation<Input, Output>[] = [];
  let now = 0;
  const client = async (): Promise<void> => {
    const seen = { version: null };
    for (let round = 0; round < rounds; round++) {
      for (let turns = Math.floor(random() * 4); turns > 0; turns--) await turnOfTheLoop();
      const asked = input(random);
      const called = ++now;
      const output = await perform(asked, seen);
      history.push({ called, returned: ++now, input: asked, output });
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return history;
}

type Age = "current" | "older" | "absent";

type Step =
  | { readonly kind: "reopen" }
  | { readonly kind: "read"; readonly queries: readonly Query[] }
  | { readonly kind: "batch"; readonly checks: readonly { readonly key: Key; readonly age: Age }[]; readonly writes: readonly Write[] };

const anyKey: fc.Arbitrary<Key> = fc.array(fc.constantFrom(0x00, 0x61, 0xff), { maxLength: 2 }).map((key) => Uint8Array.from(key));
const anyWrite: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), key: anyKey, value: fc.uint8Array({ maxLength: 9 }) }),
  fc.record({ kind: fc.constant("add" as const), key: anyKey, amount: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
  fc.record({ kind: fc.constant("delete" as const), key: anyKey }),
  fc.record({ kind: fc.constant("deleteRange" as const), begin: anyKey, end: anyKey }),
);
const anyQuery: fc.Arbitrary<Query> = fc.oneof(
  fc.record({ key: anyKey }),
  fc.record({ begin: anyKey, end: anyKey, limit: fc.integer({ min: 1, max: 15 }), reverse: fc.boolean() }),
);
const anyCheck = fc.record({ key: anyKey, age: fc.constantFrom<Age[]>("current", "current", "current", "older", "absent") });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("batch" as const),
      checks: fc.array(anyCheck, { maxLength: 3 }),
      writes: fc.array(anyWrite, { maxLength: 6 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("read" as const), queries: fc.array(anyQuery, { maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

/** A store so plain that it is plainly right. */
class StoreModel {
  #entries: readonly Entry[] = [];

  read(query: Query): readonly Entry[] {
    if ("key" in query) return this.#entries.filter((entry) => equalBytes(entry.key, query.key));
    const inside = this.#entries.filter((entry) => compareBytes(entry.key, query.begin) >= 0 && compareBytes(entry.key, query.end) < 0);
    const sorted = inside.toSorted((left, right) => compareBytes(left.key, right.key));
    return (query.reverse === true ? sorted.toReversed() : sorted).slice(0, query.limit);
  }

  versionOf(key: Key, age: Age): Version | null {
    const version = this.read({ key })[0]?.version ?? null;
    if (age === "absent") return null;
    return age === "current" ? version : (version ?? 2) - 1;
  }

  failedCheck(checks: readonly Check[]): number {
    return checks.findIndex((check) => this.versionOf(check.key, "current") !== check.version);
  }

  apply(writes: readonly Write[], version: Version): void {
    for (const write of writes) {
      if (write.kind === "deleteRange") {
        this.#entries = this.#entries.filter(
          (entry) => compareBytes(entry.key, write.begin) < 0 || compareBytes(entry.key, write.end) >= 0,
        );
        continue;
      }
      const before = this.read({ key: write.key })[0]?.value;
      this.#entries = this.#entries.filter((entry) => !equalBytes(entry.key, write.key));
      if (write.kind === "set") this.#entries = [...this.#entries, { key: write.key, value: write.value, version }];
      if (write.kind === "add") {
        const sum = BigInt.asIntN(64, (before?.length === 8 ? Buffer.from(before).readBigInt64LE() : 0n) + write.amount);
        const value = Buffer.alloc(8);
        value.writeBigInt64LE(sum);
        this.#entries = [...this.#entries, { key: write.key, value, version }];
      }
    }
  }
}

function entryText(entry: Entry): string {
  return `${hex(entry.key)} = ${hex(entry.value)} @ ${entry.version}`;
}
