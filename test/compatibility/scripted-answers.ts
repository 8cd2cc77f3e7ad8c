/** What the scripted model says in these tests: commands in the user's message decide. */
import type { RawAnswer, ScriptedAnswer, ScriptedRequest } from "../../src/models/testing/scripted-provider.ts";

/**
 * - `CALL Tool {json}` calls a tool; two of them on lines of their own call both at once.
 * - `SLOW n` counts to `n`, a word every 100 ms.
 * - `HOLD` is answered when `release` is called.
 * - `REFUSE` is refused by the provider.
 * - After a tool's result it says what it got.
 */
export class ScriptedAnswers {
  readonly #held: (() => void)[] = [];

  /** Lets the answers go that are held back now. */
  release(): void {
    for (const resolve of this.#held.splice(0)) resolve();
  }

  async answer({ lastMessage: { role, text } }: ScriptedRequest): Promise<ScriptedAnswer | RawAnswer> {
    if (role === "tool") return { text: `The tool said: ${text}` };
    const calls = [...text.matchAll(/^CALL (\w+) (\{.*\})$/gm)].map(([, name, input]) => ({ name: name!, arguments: input! }));
    if (calls.length > 0) return { text: "Let me look.", toolCalls: calls };
    const [, count] = /SLOW (\d+)/.exec(text) ?? [];
    if (count !== undefined) return { text: countTo(Number(count)), charactersPerEvent: 4, delayMilliseconds: 100 };
    if (text.includes("HOLD")) await new Promise<void>((resolve) => this.#held.push(resolve));
    if (text.includes("REFUSE")) return refusal;
    return { text: "A scripted answer." };
  }
}

const refusal: RawAnswer = {
  status: 400,
  steps: ['{"type":"error","error":{"type":"invalid_request_error","message":"refused by the provider"}}'],
};

/** Words of the same length, so that a lost or a repeated piece shows. */
export function countTo(count: number): string {
  return Array.from({ length: count }, (_, index) => `w${String(index).padStart(2, "0")} `).join("");
}
