/**
 * Decides whether a history of concurrent operations could have happened one at a time.
 *
 * The search of Wing and Gong with Lowe's improvements: depth first over a linked list of calls and returns in the
 * order of time. Linearizing an operation lifts its two events out of the list; going back puts them in again;
 * a set of linearized operations that led to the same state before is not tried twice.
 *
 * L1. An operation whose outcome is unknown may take effect at any time after its call, or never.
 * L2. When the budget runs out the verdict is "unknown", never "linearizable".
 *
 * Three reductions keep histories with faults within the budget: a read that fits the state is taken at once,
 * unknown operations of one kind stand for each other, and known operations are tried before unknown ones.
 * See Lowe, "Testing for linearizability" (2016), and Horn and Kroening, "Faster linearizability checking" (2015).
 */
export interface Operation<Input, Output> {
  /** Any clock that both times are read from, as long as it never goes back. */
  readonly called: number;
  /** `Infinity`: the outcome is unknown, and `output` means nothing. */
  readonly returned: number;
  readonly input: Input;
  readonly output: Output | undefined;
}

export interface SequentialModel<State, Input, Output> {
  readonly init: State;
  /** The state after the operation, or `undefined` if it could not have answered so. `output` is `undefined` when unknown. */
  step(state: State, input: Input, output: Output | undefined): { readonly state: State } | undefined;
  /** Equal for equal states. */
  key(state: State): string;
  /** Whether the operation changes no state, whatever it answers. */
  isRead(input: Input): boolean;
  /** Equal for unknown operations that have the same effect in every state. */
  kind(input: Input): string;
  /** Where the outputs tell it, the order in which concurrent operations happened: a hint of which to try first. */
  rank?(output: Output): number;
}

export type Verdict<Input, Output> =
  | { readonly verdict: "linearizable" }
  /** `stuckAt`: the operation that the deepest branch of the search could not place. */
  | { readonly verdict: "not linearizable"; readonly stuckAt: Operation<Input, Output> }
  | { readonly verdict: "unknown" };

/** Steps of the model that one check may take. */
const stepsMax = 5_000_000;

interface Event<Input, Output> {
  readonly operation: Operation<Input, Output>;
  readonly index: number;
  /** The return that belongs to this call; a return has none. An unknown outcome has no return in the list. */
  readonly match: Event<Input, Output> | undefined;
  readonly isCall: boolean;
  previous: Event<Input, Output> | undefined;
  next: Event<Input, Output> | undefined;
}

export function checkLinearizable<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  budget: number = stepsMax,
): Verdict<Input, Output> {
  // A read whose answer nobody saw says nothing.
  const operations = history.filter((operation) => operation.returned !== Infinity || !model.isRead(operation.input));
  const head = listOf(operations);
  /** Operations with a known outcome that are not linearized yet. */
  const left = { known: operations.filter((operation) => operation.returned !== Infinity).length };
  let state = model.init;
  let steps = 0;
  const done = new Set<number>();
  const bits = new Uint8Array(Math.ceil(operations.length / 8));
  const visited = new Set<string>();
  const path: { readonly call: Event<Input, Output>; readonly before: State; readonly isForced: boolean }[] = [];
  let deepest = -1;
  let stuckAt: Operation<Input, Output> | undefined;

  const take = (call: Event<Input, Output>, after: State, isForced: boolean): void => {
    path.push({ call, before: state, isForced });
    state = after;
    lift(call);
    done.add(call.index);
    bits[call.index >> 3]! ^= 1 << (call.index & 7);
    if (call.match !== undefined) left.known--;
  };
  const back = (): Event<Input, Output> | undefined => {
    for (;;) {
      const last = path.pop();
      if (last === undefined) return undefined;
      state = last.before;
      putBack(last.call);
      done.delete(last.call.index);
      bits[last.call.index >> 3]! ^= 1 << (last.call.index & 7);
      if (last.call.match !== undefined) left.known++;
      // Taking a read that fits is never wrong, so there is nothing else to try in its place.
      if (!last.isForced) return last.call;
    }
  };
  const isNew = (call: Event<Input, Output>, after: State): boolean => {
    bits[call.index >> 3]! ^= 1 << (call.index & 7);
    const name = `${Buffer.from(bits).toString("latin1")} ${model.key(after)}`;
    bits[call.index >> 3]! ^= 1 << (call.index & 7);
    if (visited.has(name)) return false;
    visited.add(name);
    return true;
  };

  let resumeAfter: Event<Input, Output> | undefined;
  search: while (left.known > 0) {
    const candidates = candidatesIn(head, model);
    if (resumeAfter === undefined) {
      for (const call of candidates) {
        if (call.match === undefined || !model.isRead(call.operation.input)) continue;
        if (++steps > budget) return { verdict: "unknown" };
        const result = model.step(state, call.operation.input, call.operation.output);
        if (result === undefined) continue;
        take(call, result.state, true);
        continue search;
      }
    }
    const from = resumeAfter === undefined ? 0 : candidates.indexOf(resumeAfter) + 1;
    resumeAfter = undefined;
    for (const call of candidates.slice(from)) {
      if (++steps > budget) return { verdict: "unknown" };
      const result = model.step(state, call.operation.input, call.match === undefined ? undefined : call.operation.output);
      if (result === undefined || !isNew(call, result.state)) continue;
      take(call, result.state, false);
      continue search;
    }
    if (done.size > deepest) {
      deepest = done.size;
      stuckAt = firstReturn(head);
    }
    resumeAfter = back();
    if (resumeAfter === undefined) return { verdict: "not linearizable", stuckAt: stuckAt! };
  }
  return { verdict: "linearizable" };
}

/** The calls that may be next: those before the first return. Known ones first, then one unknown of each kind. */
function candidatesIn<State, Input, Output>(
  head: Event<Input, Output>,
  model: SequentialModel<State, Input, Output>,
): Event<Input, Output>[] {
  const known: Event<Input, Output>[] = [];
  const unknown = new Map<string, Event<Input, Output>>();
  for (let event = head.next; event?.isCall === true; event = event.next) {
    if (event.match !== undefined) known.push(event);
    else if (!unknown.has(model.kind(event.operation.input))) unknown.set(model.kind(event.operation.input), event);
  }
  const rank = (event: Event<Input, Output>): number => model.rank!(event.operation.output!);
  if (model.rank !== undefined) known.sort((left, right) => rank(left) - rank(right));
  return [...known, ...unknown.values()];
}

function firstReturn<Input, Output>(head: Event<Input, Output>): Operation<Input, Output> | undefined {
  let event = head.next;
  while (event?.isCall === true) event = event.next;
  return event?.operation;
}

/** Calls and returns in the order of time, behind a head that is neither. At equal times calls come first: they overlap. */
function listOf<Input, Output>(operations: readonly Operation<Input, Output>[]): Event<Input, Output> {
  const events = operations.flatMap((operation, index) => {
    const end: Event<Input, Output> = { operation, index, match: undefined, isCall: false, previous: undefined, next: undefined };
    const isKnown = operation.returned !== Infinity;
    const call: Event<Input, Output> = {
      operation,
      index,
      match: isKnown ? end : undefined,
      isCall: true,
      previous: undefined,
      next: undefined,
    };
    return isKnown ? [call, end] : [call];
  });
  const time = (event: Event<Input, Output>): number => (event.isCall ? event.operation.called : event.operation.returned);
  events.sort((left, right) => time(left) - time(right) || Number(right.isCall) - Number(left.isCall));
  const head: Event<Input, Output> = { ...events[0]!, index: -1, previous: undefined, next: undefined };
  let last = head;
  for (const event of events) {
    last.next = event;
    event.previous = last;
    last = event;
  }
  return head;
}

function lift<Input, Output>(call: Event<Input, Output>): void {
  for (const event of call.match === undefined ? [call] : [call, call.match]) {
    event.previous!.next = event.next;
    if (event.next !== undefined) event.next.previous = event.previous;
  }
}

/** Undoes `lift`: in the reverse order, so that each finds its neighbours as it left them. */
function putBack<Input, Output>(call: Event<Input, Output>): void {
  for (const event of call.match === undefined ? [call] : [call.match, call]) {
    event.previous!.next = event;
    if (event.next !== undefined) event.next.previous = event;
  }
}
