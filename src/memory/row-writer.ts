import { encodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Write } from "../storage/store.ts";

/** Where rows are written to without reading: a `Transaction`, or the batch of an actor's turn. */
export interface RowWriter {
  set(key: Tuple, value: unknown): void;
  delete(key: Tuple): void;
  deleteAll(prefix: Tuple): void;
  add(key: Tuple, amount: number): void;
}

/** Collects writes as values, for `turn.write(...list.writes)`. */
export class WriteList implements RowWriter {
  readonly writes: Write[] = [];

  set(key: Tuple, value: unknown): void {
    this.writes.push({ kind: "set", key: encodeTuple(key), value: encodeJson(value) });
  }

  delete(key: Tuple): void {
    this.writes.push({ kind: "delete", key: encodeTuple(key) });
  }

  deleteAll(prefix: Tuple): void {
    this.writes.push({ kind: "deleteRange", ...tupleRange(prefix) });
  }

  add(key: Tuple, amount: number): void {
    this.writes.push({ kind: "add", key: encodeTuple(key), amount: BigInt(amount) });
  }
}
