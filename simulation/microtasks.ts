import { setFlagsFromString } from "node:v8";

/**
 * Runs every microtask that is ready, at once and on the spot, or `undefined` where V8 does not offer it.
 *
 * Works only in a macrotask: V8 ignores a checkpoint inside a microtask.
 */
export const drainMicrotasks: (() => void) | undefined = nativeDrain();

function nativeDrain(): (() => void) | undefined {
  try {
    setFlagsFromString("--allow-natives-syntax");
    // The parser sees the intrinsic only when the flag is on, so the source has to be compiled now and not with this file.
    return new Function("%PerformMicrotaskCheckpoint()") as () => void;
  } catch {
    // Another engine, or flags that are frozen: the kernel waits at a setImmediate boundary instead, ten times slower.
    return undefined;
  } finally {
    setFlagsFromString("--no-allow-natives-syntax");
  }
}

const immediate = globalThis.setImmediate;

/** Resolves in a later macrotask, after all microtasks that are ready. */
export function nextMacrotask(): Promise<void> {
  return new Promise((resolve) => void immediate(resolve));
}

/** Calls `work` in a macrotask of its own and settles as it does. */
export function inMacrotask<T>(work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    immediate(() => {
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    });
  });
}
