/** While a simulation runs, the globals that bring in time, chance or the outside throw: code must ask its `Environment`. */

/** Code asked the machine for something that a seed cannot repeat. */
export class UnportableError extends Error {
  override readonly name = "UnportableError";
}

type Names = readonly string[];
const guarded: readonly (readonly [owner: object, path: string, names: Names])[] = [
  [globalThis, "", ["setTimeout", "setInterval", "setImmediate", "fetch"]],
  [Date, "Date.", ["now"]],
  [Math, "Math.", ["random"]],
  [performance, "performance.", ["now"]],
  [process, "process.", ["nextTick", "hrtime"]],
  [crypto, "crypto.", ["randomUUID", "getRandomValues"]],
  [AbortSignal, "AbortSignal.", ["timeout"]],
];

/** Puts the guards up and gives a function that takes them down again. */
export function guardGlobals(): () => void {
  const restores: (() => void)[] = [];
  for (const [owner, path, names] of guarded) {
    for (const name of names) {
      const original = Object.getOwnPropertyDescriptor(owner, name);
      Object.defineProperty(owner, name, { configurable: true, writable: true, value: () => refuse(`${path}${name}()`) });
      restores.push(() => {
        if (original === undefined) delete (owner as Record<string, unknown>)[name];
        else Object.defineProperty(owner, name, original);
      });
    }
  }
  const RealDate = globalThis.Date;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, parts, newTarget) =>
      parts.length === 0 ? refuse("new Date()") : (Reflect.construct(target, parts, newTarget) as Date),
    apply: () => refuse("Date()"),
  });
  restores.push(() => (globalThis.Date = RealDate));
  return () => {
    for (const restore of restores.toReversed()) restore();
  };
}

function refuse(what: string): never {
  throw new UnportableError(`${what} was called in a simulated run: ask the Environment`);
}
