/** Worker: the model server. Every token says when it was written, by the clock that all processes of a machine share. */
import { openAISteps, ScriptedProvider, type Step } from "../../../src/models/testing/scripted-provider.ts";
import { answerQuestions } from "../worker.ts";

export interface ModelOptions {
  readonly tokens: number;
  readonly tokenMilliseconds: number;
}

let provider: ScriptedProvider | undefined;

answerQuestions(
  {
    start: async ({ tokens, tokenMilliseconds }: ModelOptions): Promise<string> => {
      provider = await ScriptedProvider.start((request) =>
        request.api === "openai" ? { steps: answerSteps(tokens, tokenMilliseconds) } : { text: "" },
      );
      return provider.url;
    },
    /** Answers that are being written now. */
    open: (): number => provider!.openCount,
  },
  async () => await provider?.[Symbol.asyncDispose](),
);

const placeOfToken = "@";
const [head, token, ...tail] = openAISteps({ text: placeOfToken }) as [string, string, ...string[]];

function* answerSteps(tokens: number, tokenMilliseconds: number): Generator<Step> {
  yield head;
  for (let index = 0; index < tokens; index++) {
    yield { wait: tokenMilliseconds };
    yield token.replace(placeOfToken, `<${monotonicMilliseconds().toFixed(3)}>`);
  }
  yield* tail;
}

/** The same for all processes of this machine, unlike `performance.now()`. */
function monotonicMilliseconds(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
