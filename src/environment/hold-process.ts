import type { Cancel } from "./environment.ts";

const longestInterval = 2 ** 31 - 1;

/** Keeps the process alive until cancelled, as the timers of a clock do not. */
export function holdProcess(): Cancel {
  const timer = setInterval(() => undefined, longestInterval);
  return () => clearInterval(timer);
}
