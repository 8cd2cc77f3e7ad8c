/**
 * What a node of a cluster and its supervisor know of each other: the server's end.
 *
 * `kelpie serve` with a node's settings becomes its own supervisor, which starts `kelpie serve` again as its child. The
 * two speak over the channel that Node opens between a process and its child. It closes with either of them, however it ends.
 */
import type { StorePlace } from "./open-store.ts";

/** What the server tells. */
export type Told =
  /** Before it joins: which incarnation is dead when it ends, and where to say so. */
  | { readonly kind: "incarnation"; readonly node: string; readonly place: StorePlace }
  /** From now on it is worth starting again, and ticks. `port`: where it serves its API, and is to serve it again. */
  | { readonly kind: "ready"; readonly port: number }
  /** Its event loop turns: said every `tickMilliseconds`. */
  | { readonly kind: "tick" };

export const tickMilliseconds = 500;

/** What the supervisor tells, as JSON. No setting, and never seen by the server's own children. */
export const supervisedVariable = "KELPIE_SUPERVISED";

export interface Supervised {
  /** The supervisor's. */
  readonly pid: number;
  /** Where the server was ready before: there it serves again, and is of that store, also when nobody is there to join. */
  readonly before?: { readonly port: number; readonly place?: StorePlace | undefined } | undefined;
}

export interface Supervisor extends Pick<Supervised, "before"> {
  named(node: string, place: StorePlace): void;
  ready(port: number): void;
}

/** The supervisor of this process, if it has one. Once: its name is taken out of the variables. */
export function takeSupervisor(): Supervisor | undefined {
  const { pid, before } = JSON.parse(process.env[supervisedVariable] ?? "{}") as Partial<Supervised>;
  delete process.env[supervisedVariable];
  // Another program's variables may have come down from a server; its supervisor is not this process's.
  if (pid !== process.ppid || process.send === undefined) return undefined;
  // One that is gone is noticed by the channel's end.
  const tell = (told: Told): void => void (process.connected && process.send?.(told, () => {}));
  return {
    before,
    named: (node, place) => tell({ kind: "incarnation", node, place }),
    ready: (served) => {
      tell({ kind: "ready", port: served });
      setInterval(() => tell({ kind: "tick" }), tickMilliseconds).unref();
    },
  };
}
