/**
 * The parts of a run that can be taken away one by one: the faults that happen in it and the operations of its clients.
 *
 * A run that keeps all of its parts shows what they are called; told to keep some of them, it leaves the others out and
 * never has one that the list does not name. Draws are keyed (R1), so what is kept stays mostly what it was.
 */

/** The names of the parts to keep; all of them where a list is absent. */
export interface KeptParts {
  readonly faults?: readonly string[] | undefined;
  readonly operations?: readonly string[] | undefined;
}

export class RunParts {
  /** What happened and what was done, in order. */
  readonly faults: string[] = [];
  readonly operations: string[] = [];
  readonly #keptFaults: ReadonlySet<string> | undefined;
  readonly #keptOperations: ReadonlySet<string> | undefined;
  readonly #drawn = new Map<string, number>();

  constructor(kept: KeptParts = {}) {
    this.#keptFaults = kept.faults && new Set(kept.faults);
    this.#keptOperations = kept.operations && new Set(kept.operations);
  }

  /** Whether a fault that was drawn happens. It is named after its kind, its place and how many were drawn there before. */
  takesFault(kind: string, place: string): boolean {
    const point = `${kind} ${place}`;
    const number = (this.#drawn.get(point) ?? 0) + 1;
    this.#drawn.set(point, number);
    const name = `${point} ${number}`;
    if (this.#keptFaults?.has(name) === false) return false;
    this.faults.push(name);
    return true;
  }

  /** Whether a client does this operation. */
  takesOperation(client: string | number, operation: number): boolean {
    const name = `${client}.${operation}`;
    if (this.#keptOperations?.has(name) === false) return false;
    this.operations.push(name);
    return true;
  }
}
