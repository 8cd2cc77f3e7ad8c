/**
 * The candidate that a person most likely meant: the one with the fewest edits between it and `text`, if they are few.
 *
 * Case, and `-` against `_`, do not count.
 */
export function nearest(text: string, candidates: Iterable<string>): string | undefined {
  const wanted = fold(text);
  let best: string | undefined;
  // A third of the letters wrong is a different word.
  let bestEdits = Math.floor(Math.max(wanted.length, 3) / 3) + 1;
  for (const candidate of candidates) {
    const edits = countEdits(wanted, fold(candidate));
    if (edits < bestEdits) [best, bestEdits] = [candidate, edits];
  }
  return best;
}

/** `Did you mean X?` with a space before it, or nothing: for the end of a message. */
export function suggestion(text: string, candidates: Iterable<string>): string {
  const candidate = nearest(text, candidates);
  return candidate === undefined ? "" : ` Did you mean ${candidate}?`;
}

function fold(text: string): string {
  return text.toLowerCase().replaceAll("_", "-");
}

/** Insertions, deletions, replacements, and swaps of neighbours (optimal string alignment). */
function countEdits(left: string, right: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1];
      let edits = Math.min(previous[column]! + 1, current[column - 1]! + 1, previous[column - 1]! + (same ? 0 : 1));
      const isSwap = row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (isSwap) edits = Math.min(edits, beforePrevious[column - 2]! + 1);
      current.push(edits);
    }
    [beforePrevious, previous] = [previous, current];
  }
  return previous[right.length]!;
}
