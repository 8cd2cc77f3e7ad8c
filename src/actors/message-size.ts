/**
 * About how many bytes a message keeps in memory, for the mailbox's limit: 2 for each UTF-16 unit of a text, 8 for
 * everything else that JSON has, the length of byte arrays. Stops counting above `most`, so that a huge (or a
 * cyclic) message costs no more than that to refuse.
 */
export function estimateBytes(message: unknown, most: number): number {
  let bytes = 0;
  const open: unknown[] = [message];
  while (open.length > 0 && bytes <= most) {
    const value = open.pop();
    bytes += 8;
    if (typeof value === "string") bytes += 2 * value.length;
    else if (typeof value !== "object" || value === null) continue;
    else if (ArrayBuffer.isView(value)) bytes += value.byteLength;
    else if (Array.isArray(value)) {
      // Counted first: a long array is refused before its elements are put on the stack.
      bytes += 8 * value.length;
      if (bytes <= most) for (const element of value) open.push(element);
    } else {
      for (const [name, part] of Object.entries(value)) {
        bytes += 2 * name.length;
        open.push(part);
      }
    }
  }
  return bytes;
}
