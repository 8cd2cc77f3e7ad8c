import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CallLines, callMark } from "./call-lines.ts";

const call = (text: string): string => `\n${callMark}${text}\n`;

test("Calls come out of what is printed, however the stream is cut, and what is printed is whole", () => {
  const piece = fc.oneof(
    fc.record({ printed: fc.oneof(fc.string(), fc.constantFrom("\n", "\n\n", callMark, `x\n${callMark[0]}`, "ü\u0000")) }),
    fc.record({ call: fc.string().map((text) => JSON.stringify(text)) }),
  );
  fc.assert(
    fc.property(fc.array(piece), fc.array(fc.nat(40)), (pieces, cuts) => {
      // What is printed must not, with what follows, be a call itself.
      const printed = pieces.map((each) => ("printed" in each ? each.printed : "")).join("");
      fc.pre(!`${printed}\n`.includes(`\n${callMark}`) && !pieces.some((each) => "printed" in each && each.printed.endsWith(callMark)));
      const stream = Buffer.from(pieces.map((each) => ("printed" in each ? each.printed : call(each.call))).join(""));
      const lines = new CallLines();
      const found: string[] = [];
      let from = 0;
      for (const cut of [...cuts, stream.length]) {
        found.push(...lines.accept(stream.subarray(from, from + cut)));
        from += cut;
      }
      assert.deepEqual(
        found,
        pieces.flatMap((each) => ("call" in each ? [each.call] : [])),
      );
      assert.equal(lines.rest().toString(), printed);
    }),
  );
});

test("A call that is not finished is shown as what it is", () => {
  const lines = new CallLines();
  assert.deepEqual(lines.accept(Buffer.from(`one${call("{}").slice(0, -1)}`)), []);
  assert.equal(lines.rest().toString(), `one\n${callMark}{}`);
});
