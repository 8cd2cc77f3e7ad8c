/** An invariant of Kelpie's own does not hold: a bug, never something a caller did. Nobody catches one to carry on. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** States what must be true. Input from people, models, tools and the network is validated instead. */
export function assert(condition: unknown, invariant: string): asserts condition {
  if (!condition) throw new InvariantError(invariant);
}

/** Marks a branch that the types prove unreachable. */
export function unreachable(value: never): never {
  throw new InvariantError(`Unexpected value ${JSON.stringify(value)}`);
}
