/**
 * Who changed what of the server itself: nodes, providers, tools, policies; and who decided approvals. One numbered row for
 * each attempt, bounded in number and age.
 *
 * L1. The row is durable before the change begins, so no change is without one. What became of it is written afterwards:
 *     `begun` means that nobody knows.
 * L2. Nothing of a request's body is kept but the name of what it makes.
 */
import { createHash } from "node:crypto";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import { decodeJson } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";

export interface AuditEntry {
  /** Grows by one. */
  readonly number: number;
  readonly at: string;
  /** What was done, such as `provider.update`. */
  readonly action: string;
  /** The id or the name of what it was done to. */
  readonly target: string | null;
  readonly outcome: "begun" | "done" | "failed";
  /** Why it failed. */
  readonly reason: string | null;
  /** The first 8 digits of the SHA-256 of the key that came with the request; null: the server asks for none. */
  readonly key: string | null;
  /** Where the request came from: of a proxy, if there is one between. */
  readonly address: string | null;
  /** The node that was asked; null: it runs alone. */
  readonly node: string | null;
}

export type AuditedAttempt = Pick<AuditEntry, "action" | "target" | "key" | "address">;

export interface AuditLimits {
  readonly entries: number;
  readonly milliseconds: number;
}

const limitsByDefault: AuditLimits = { entries: 10_000, milliseconds: 365 * 86_400_000 };
/** Rows over the limits that go with each new one: more than come. */
const deletedMax = 16;
const textLengthMax = 200;

/** The numbers of the oldest entry and of the next one. */
interface Span {
  readonly first: number;
  readonly next: number;
}

export class AuditLog {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #node: string | null;
  readonly #limits: AuditLimits;

  constructor(store: Store, environment: Environment, options: { readonly node: string | null; readonly limits?: AuditLimits }) {
    this.#store = store;
    this.#environment = environment;
    this.#node = options.node;
    this.#limits = options.limits ?? limitsByDefault;
  }

  /** Does `work` with a row about it (L1). `targetOf` knows the target of a success better than `attempt` did. */
  async during<T>(
    project: string,
    attempt: AuditedAttempt,
    work: () => Promise<T>,
    targetOf: (result: T) => string | undefined,
  ): Promise<T> {
    const entry = await this.#begin(project, attempt);
    let result: T;
    try {
      result = await work();
    } catch (error) {
      const reason = limited(error instanceof Error ? error.message : String(error)) ?? null;
      await this.#end(project, { ...entry, outcome: "failed", reason });
      throw error;
    }
    await this.#end(project, { ...entry, outcome: "done", target: limited(targetOf(result)) ?? entry.target });
    return result;
  }

  /** The newest first, those before number `before`. `limit`: 1 to 1,000. */
  async list(project: string, page: { readonly limit: number; readonly before?: number | undefined }): Promise<readonly AuditEntry[]> {
    const begin = encodeTuple(entryKey(project, 0));
    const end = encodeTuple(entryKey(project, page.before ?? Number.MAX_SAFE_INTEGER));
    const [answer] = await this.#store.read([{ begin, end, limit: page.limit, reverse: true }]);
    return answer!.map(({ value }) => decodeJson<AuditEntry>(value));
  }

  async #begin(project: string, attempt: AuditedAttempt): Promise<AuditEntry> {
    const now = this.#environment.clock.now();
    return await transact(this.#store, this.#environment, async (transaction) => {
      const { first, next } = (await transaction.get<Span>(spanKey(project))) ?? { first: 1, next: 1 };
      const entry: AuditEntry = {
        number: next,
        at: new Date(now).toISOString(),
        ...attempt,
        target: limited(attempt.target) ?? null,
        outcome: "begun",
        reason: null,
        node: this.#node,
      };
      let kept = first;
      for (; kept < Math.min(next, first + deletedMax); kept++) {
        const old = await transaction.get<AuditEntry>(entryKey(project, kept));
        const isOver = next - kept >= this.#limits.entries || old === undefined || Date.parse(old.at) < now - this.#limits.milliseconds;
        if (!isOver) break;
        transaction.delete(entryKey(project, kept));
      }
      transaction.set(spanKey(project), { first: kept, next: next + 1 } satisfies Span);
      transaction.set(entryKey(project, next), entry);
      return entry;
    });
  }

  /** Never throws: what was done is done. */
  async #end(project: string, entry: AuditEntry): Promise<void> {
    this.#environment.log.write("info", "An administrator's change", { ...entry });
    try {
      await transact(this.#store, this.#environment, async (transaction) => transaction.set(entryKey(project, entry.number), entry));
    } catch (error) {
      this.#environment.log.write("warn", "What became of an administrator's change could not be written down", { ...entry, error });
    }
  }
}

/** A key as it may be shown: enough to tell several apart. */
export function keyMark(key: string): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 8);
}

function limited(text: string | null | undefined): string | undefined {
  return text?.slice(0, textLengthMax).toWellFormed();
}

function entryKey(project: string, number: number): Tuple {
  return [project, "audit", number];
}

function spanKey(project: string): Tuple {
  return [project, "audit.span"];
}
