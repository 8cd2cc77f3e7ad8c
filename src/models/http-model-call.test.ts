import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultModelCallLimits, type ModelCallLimits, realFetch } from "./http-port.ts";
import { ModelError, type ModelErrorKind, type ModelEvent } from "./model.ts";
import { AnthropicModel } from "./anthropic-messages.ts";
import { OpenAIChatModel } from "./openai-chat.ts";
import { configuredProviders } from "./providers.ts";
import { collect, summarize, userRequest } from "./testing/collect.ts";
import { ManualEnvironment } from "./testing/manual-environment.ts";
import {
  anthropicSteps,
  cut,
  openAISteps,
  type RawAnswer,
  type Script,
  ScriptedProvider,
  silence,
  type Step,
} from "./testing/scripted-provider.ts";

const key = "sk-very-secret-0123456789";

interface Bench extends AsyncDisposable {
  readonly provider: ScriptedProvider;
  readonly environment: ManualEnvironment;
  readonly model: OpenAIChatModel;
}

async function bench(script: Script, limits: Partial<ModelCallLimits> = {}): Promise<Bench> {
  const provider = await ScriptedProvider.start(script);
  const environment = new ManualEnvironment();
  const [openai] = configuredProviders({ OPENAI_API_KEY: key, OPENAI_API_BASE: provider.url });
  const port = { environment, fetch: realFetch, limits: { ...defaultModelCallLimits, ...limits } };
  const model = new OpenAIChatModel({ handle: "openai/gpt-4o", name: "gpt-4o", provider: openai!, port });
  return { provider, environment, model, [Symbol.asyncDispose]: () => provider[Symbol.asyncDispose]() };
}

/** Answers the requests one after the other, the last one for ever. */
function inTurn(...answers: readonly (RawAnswer | { readonly text: string })[]): Script {
  return (request) => answers[Math.min(request.number, answers.length) - 1]!;
}

function failure(
  status: number,
  body: unknown = { error: { message: "Sorry" } },
  headers: { readonly [name: string]: string } = {},
): RawAnswer {
  return { status, headers: { "content-type": "application/json", ...headers }, steps: [JSON.stringify(body)] };
}

function assertModelError(error: unknown, kind: ModelErrorKind, message: RegExp): asserts error is ModelError {
  assert.ok(error instanceof ModelError, String(error));
  assert.equal(error.kind, kind, error.message);
  assert.match(error.message, message);
  assert.doesNotMatch(error.message, new RegExp(key));
}

const good = openAISteps({ text: "Hello there, Ada", toolCalls: [{ name: "roll", arguments: { n: 1 } }] });

test("A streamed answer arrives as it is sent, with its usage", async () => {
  await using parts = await bench(() => ({ text: "Hello, 漢字 🐴", reasoning: "Hm", usage: { inputTokens: 7, outputTokens: 3 } }));
  const { events, error } = await collect(parts.model, userRequest("Hi"));
  assert.equal(error, undefined);
  const { text, reasoning, end } = summarize(events);
  assert.deepEqual([text, reasoning, end?.reason, end?.usage.inputTokens], ["Hello, 漢字 🐴", "Hm", "stop", 7]);
  assert.equal(parts.provider.requests[0]?.headers.authorization, `Bearer ${key}`);
});

const wholeEvents: readonly (readonly [name: string, steps: readonly Step[]])[] = [
  ["in pieces of one byte", Array.from(Buffer.from(good.join("")), (byte) => Uint8Array.of(byte))],
  ["with CRLF", good.map((step) => step.replaceAll("\n", "\r\n"))],
  ["with comments between", good.flatMap((step) => [": OPENROUTER PROCESSING\n\n", step])],
  ["without [DONE]", good.slice(0, -1)],
  ["without [DONE] and the last blank line", [good.slice(0, -1).join("").trimEnd()]],
  ["with a connection that breaks after the finish", [...good.slice(0, -1), { wait: 5 }, cut]],
  ["with more after [DONE]", [...good, "data: what is this?\n\n"]],
];
for (const [name, steps] of wholeEvents) {
  test(`An answer ${name} is whole`, async () => {
    await using parts = await bench(() => ({ steps }));
    const { events, error } = await collect(parts.model, userRequest("Hi"));
    assert.equal(error, undefined);
    const { text, calls, end } = summarize(events);
    assert.deepEqual([text, calls.length, end?.reason, end?.usage.outputTokens], ["Hello there, Ada", 1, "toolCalls", 5]);
    assert.equal(parts.provider.count, 1);
  });
}

test("A JSON answer to a request for a stream is whole, whatever its content type", async () => {
  for (const type of ["application/json", "text/event-stream", "text/plain"]) {
    const body = JSON.stringify({ choices: [{ index: 0, message: { content: "Hi" }, finish_reason: "stop" }] });
    await using parts = await bench(() => ({ headers: { "content-type": type }, steps: [body.slice(0, 9), body.slice(9)] }));
    const { events, error } = await collect(parts.model, userRequest("Hi"));
    assert.equal(error, undefined);
    assert.equal(summarize(events).text, "Hi");
  }
});

test("White space before the answer, sent to keep the connection alive, is nothing", async () => {
  const body = JSON.stringify({ choices: [{ index: 0, message: { content: "Hi" }, finish_reason: "stop" }] });
  await using parts = await bench(() => ({ steps: ["\n", " \n", ` ${body}`] }));
  assert.equal(summarize((await collect(parts.model, userRequest("Hi"))).events).text, "Hi");
});

test("After the finish, a provider that stays silent is not waited for long", async () => {
  await using parts = await bench(() => ({ steps: [...good.slice(0, -2), silence] }));
  const events: ModelEvent[] = [];
  for await (const event of parts.model.generate(userRequest("Hi"), new AbortController().signal)) {
    events.push(event);
    // The call waits for usage now, and only time can end it.
    if (summarize(events).text === "Hello there, Ada" && event.type === "toolCallDelta") queueAdvances(parts.environment, 6_000);
  }
  assert.equal(events.at(-1)?.type, "end");
});

/** Lets time pass again and again, as the wait that is to end may have yet to begin. */
function queueAdvances(environment: ManualEnvironment, milliseconds: number): void {
  const again = setInterval(() => {
    environment.advance(milliseconds);
    if (environment.timerCount === 0) clearInterval(again);
  }, 20);
}

const failedEvents: readonly (readonly [name: string, answer: RawAnswer, kind: ModelErrorKind, message: RegExp])[] = [
  ["ends cleanly without a finish", { steps: good.slice(0, 3) }, "invalidResponse", /ended its answer without a finish reason/],
  ["breaks in the middle", { steps: [...good.slice(0, 3), { wait: 5 }, cut] }, "providerDown", /broke the connection/],
  [
    "holds an error in the middle",
    { steps: [...good.slice(0, 3), 'data: {"error":{"message":"The GPU is on fire","code":500}}\n\n'] },
    "providerDown",
    /The GPU is on fire/,
  ],
  ["turns to garbage", { steps: [...good.slice(0, 3), "data: \u0000\u0001\n\n"] }, "invalidResponse", /not JSON/],
];
for (const [name, answer, kind, message] of failedEvents) {
  test(`H2: an answer that ${name} is an error, with what came before, and is not tried again`, async () => {
    await using parts = await bench(() => answer);
    const { events, error } = await collect(parts.model, userRequest("Hi"));
    assertModelError(error, kind, message);
    assert.match(summarize(events).text, /^Hello/);
    assert.equal(summarize(events).end, undefined);
    assert.equal(parts.provider.count, 1);
  });
}

test("H1: endless output is cut off", async () => {
  const chunk = openAISteps({ text: "more " })[1]!;
  await using parts = await bench(() => ({ steps: [{ repeat: chunk }] }), { responseBytesMax: 200_000 });
  const { events, error } = await collect(parts.model, userRequest("Hi"));
  assertModelError(error, "invalidResponse", /did not end its answer within 200000 bytes/);
  assert.ok(events.length > 100);
});

test("H1: endless output without an event is cut off", async () => {
  await using parts = await bench(() => ({ steps: [{ repeat: "data: x" }] }), { eventCharactersMax: 100_000 });
  assertModelError((await collect(parts.model, userRequest("Hi"))).error, "invalidResponse", /longer than 100000 characters/);
});

test("H1: a provider that goes silent in the middle is a timeout", async () => {
  await using parts = await bench(() => ({ steps: [...good.slice(0, 3), silence] }));
  const events: ModelEvent[] = [];
  await assert.rejects(
    async () => {
      for await (const event of parts.model.generate(userRequest("Hi"), new AbortController().signal)) {
        events.push(event);
        if (summarize(events).text.length === 16) queueAdvances(parts.environment, 240_000);
      }
    },
    (error) => error instanceof ModelError && error.kind === "timeout" && /sent nothing for 240 s/.test(error.message),
  );
  assert.equal(parts.provider.count, 1);
});

test("H1: a provider that never answers is a timeout, after a bounded number of attempts", async () => {
  let waiting = (): void => undefined;
  await using parts = await bench(
    async () => {
      waiting();
      return new Promise(() => undefined);
    },
    { attemptsMax: 3, retryMillisecondsMax: 3_600_000 },
  );
  waiting = () => void setTimeout(() => parts.environment.advance(240_000), 1);
  assertModelError((await collect(parts.model, userRequest("Hi"))).error, "timeout", /sent nothing for 240 s/);
  assert.equal(parts.provider.count, 3);
});

test("H1: keep-alives for ever do not keep a call alive", async () => {
  // Silence has no limit here, so only the limit of the whole call can end it.
  const limits = { firstByteMillisecondsMax: 1e9, silenceMillisecondsMax: 1e9, callMillisecondsMax: 900_000, attemptsMax: 1 };
  await using parts = await bench(
    () => ({ steps: Array.from({ length: 10_000 }, () => [{ wait: 1 }, ": keep-alive\n\n"] as const).flat() }),
    limits,
  );
  const ticking = setInterval(() => parts.environment.advance(60_000), 1);
  const { error } = await collect(parts.model, userRequest("Hi"));
  clearInterval(ticking);
  assertModelError(error, "timeout", /did not finish within 900 s/);
});

const retried: readonly (readonly [name: string, answer: RawAnswer])[] = [
  ["408", failure(408)],
  ["409", failure(409)],
  ["429", failure(429, { error: { message: "Rate limit reached", code: "rate_limit_exceeded" } })],
  ["500", failure(500)],
  ["502 with a web page", { status: 502, headers: { "content-type": "text/html" }, steps: ["<html>Bad gateway"] }],
  ["503", failure(503)],
  ["529", failure(529)],
  ["a broken connection", { steps: [cut] }],
  ["an error at the beginning of the stream", { steps: ['data: {"error":{"message":"Overloaded","type":"overloaded_error"}}\n\n'] }],
];
for (const [name, answer] of retried) {
  test(`${name} is tried again, with growing waits, and then given up`, async () => {
    await using parts = await bench(inTurn(answer, answer, { text: "At last" }));
    const { events, error } = await collect(parts.model, userRequest("Hi"));
    assert.equal(error, undefined);
    assert.equal(summarize(events).text, "At last");
    assert.deepEqual(parts.environment.sleeps, [375, 750]);
    assert.deepEqual(
      parts.environment.entries.map(({ level, message }) => `${level} ${message}`),
      ["warn Model call failed and is tried again", "warn Model call failed and is tried again"],
    );
    await using hopeless = await bench(() => answer);
    const outcome = await collect(hopeless.model, userRequest("Hi"));
    assert.ok(outcome.error instanceof ModelError);
    assert.equal(hopeless.provider.count, 4);
  });
}

const refused: readonly (readonly [status: number, body: unknown, kind: ModelErrorKind, message: RegExp])[] = [
  [400, { error: { message: "Unknown parameter: 'foo'" } }, "invalidRequest", /answered 400: Unknown parameter: 'foo'$/],
  [400, { error: { message: "too long", code: "context_length_exceeded" } }, "contextOverflow", /longer than the model's context window$/],
  [400, { error: { message: "Flagged", code: "content_filter" } }, "contentFilter", /Flagged/],
  [
    401,
    { error: { message: `Incorrect API key provided: ${key}` } },
    "authentication",
    /provided: \*{8}; set OPENAI_API_KEY to a valid key$/,
  ],
  [402, { error: { message: "Insufficient credits" } }, "insufficientCredits", /add credit to the openai account$/],
  [403, "Forbidden", "authentication", /OPENAI_API_KEY/],
  [
    404,
    { error: { message: "The model does not exist", code: "model_not_found" } },
    "invalidRequest",
    /check the model's name and OPENAI_API_BASE$/,
  ],
  [413, "Too large", "contextOverflow", /answered 413/],
  [422, { detail: [{ msg: "extra fields not permitted" }] }, "invalidRequest", /extra fields not permitted/],
  [429, { error: { message: "You exceeded your current quota", code: "insufficient_quota" } }, "insufficientCredits", /add credit/],
];
for (const [status, body, kind, message] of refused) {
  test(`${status} ${JSON.stringify(body).slice(0, 60)} is ${kind}, at once, and says what to do`, async () => {
    await using parts = await bench(() => failure(status, body));
    assertModelError((await collect(parts.model, userRequest("Hi"))).error, kind, message);
    assert.equal(parts.provider.count, 1);
  });
}

test("Retry-After is obeyed in seconds, as a date, and in milliseconds", async () => {
  const headers = [
    { "retry-after": "7" },
    { "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" },
    { "retry-after-ms": "1500", "retry-after": "9" },
  ];
  await using parts = await bench(inTurn(...headers.map((fields) => failure(429, {}, fields)), { text: "Yes" }));
  assert.equal((await collect(parts.model, userRequest("Hi"))).error, undefined);
  // The date is 30 seconds after the environment's beginning, of which 7 have passed.
  assert.deepEqual(parts.environment.sleeps, [7_000, 23_000, 1_500]);
});

test("A Retry-After that is too long is not waited for, and told", async () => {
  await using parts = await bench(() => failure(429, {}, { "retry-after": "3600" }));
  const { error } = await collect(parts.model, userRequest("Hi"));
  assertModelError(error, "rateLimit", /answered 429/);
  assert.equal(error.retryAfterMilliseconds, 3_600_000);
  assert.equal(parts.provider.count, 1);
});

test("A Retry-After of more than a minute is too long also where the time for attempts would allow it", async () => {
  await using parts = await bench(() => failure(503, {}, { "retry-after": "61" }));
  assertModelError((await collect(parts.model, userRequest("Hi"))).error, "providerDown", /503/);
  assert.deepEqual(parts.environment.sleeps, []);
});

test("Attempts end when their time is over", async () => {
  await using parts = await bench(() => failure(503, {}, { "retry-after": "50" }), { attemptsMax: 100 });
  assertModelError((await collect(parts.model, userRequest("Hi"))).error, "providerDown", /503/);
  assert.deepEqual(parts.environment.sleeps, [50_000, 50_000]);
});

test("A redirect is not followed: it could carry the key elsewhere", async () => {
  await using other = await ScriptedProvider.start(() => ({ text: "Thanks for the key" }));
  await using parts = await bench(() => ({ status: 307, headers: { location: `${other.url}/v1/chat/completions` }, steps: [] }));
  assertModelError(
    (await collect(parts.model, userRequest("Hi"))).error,
    "invalidResponse",
    /redirect \(307\), which is not followed.*OPENAI_API_BASE/,
  );
  assert.equal(other.count, 0);
});

test("A server that is not there is named, with the variable that says where it is", async () => {
  const parts = await bench(() => ({ text: "" }));
  await parts.provider[Symbol.asyncDispose]();
  assertModelError(
    (await collect(parts.model, userRequest("Hi"))).error,
    "providerDown",
    /cannot be reached \(ECONNREFUSED\); is it running, and is OPENAI_API_BASE right\?$/,
  );
});

test("A web page instead of an answer is an invalid response", async () => {
  await using parts = await bench(() => ({ headers: { "content-type": "text/html" }, steps: ["<!DOCTYPE html><title>Sign in</title>"] }));
  assertModelError((await collect(parts.model, userRequest("Hi"))).error, "invalidResponse", /a web page/);
});

test("Aborting ends the stream at once with the signal's reason, and closes the connection", async () => {
  await using parts = await bench(() => ({ steps: [...good.slice(0, 3), silence] }));
  const controller = new AbortController();
  const reason = new Error("The user pressed stop");
  const seen: ModelEvent[] = [];
  await assert.rejects(
    async () => {
      for await (const event of parts.model.generate(userRequest("Hi"), controller.signal)) {
        seen.push(event);
        controller.abort(reason);
      }
    },
    (error) => error === reason,
  );
  assert.equal(seen.length, 1);
  while (parts.provider.openCount > 0) await new Promise((resolve) => setTimeout(resolve, 1));
});

test("Aborting before the headers, and before the call, ends it with the signal's reason", async () => {
  const controller = new AbortController();
  const reason = new Error("Stopped");
  await using parts = await bench(() => {
    controller.abort(reason);
    return new Promise(() => undefined);
  });
  assert.equal((await collect(parts.model, userRequest("Hi"), controller.signal)).error, reason);
  assert.equal((await collect(parts.model, userRequest("Hi"), controller.signal)).error, reason);
  assert.equal(parts.provider.count, 1);
});

test("A caller that leaves early closes the connection", async () => {
  await using parts = await bench(() => ({ steps: [...good.slice(0, 3), silence] }));
  for await (const _event of parts.model.generate(userRequest("Hi"), new AbortController().signal)) break;
  while (parts.provider.openCount > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(parts.environment.timerCount, 0);
});

test("A connection serves one call after another", async () => {
  await using parts = await bench(() => ({ text: "Hello" }));
  for (let call = 0; call < 5; call++) {
    assert.equal((await collect(parts.model, userRequest("Hi"))).error, undefined);
    while (parts.environment.timerCount > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(parts.provider.count, 5);
  assert.equal(parts.provider.connectionCount, 1);
});

test("Anthropic's protocol over HTTP: headers, a stream, an overload that is tried again", async () => {
  await using provider = await ScriptedProvider.start((request) =>
    request.number === 1
      ? failure(529, { type: "error", error: { type: "overloaded_error", message: "Overloaded" } })
      : { steps: anthropicSteps({ text: "Hello", reasoning: "Hm", signature: "sig", toolCalls: [{ name: "roll", arguments: { n: 1 } }] }) },
  );
  const environment = new ManualEnvironment();
  const [anthropic] = configuredProviders({ ANTHROPIC_API_KEY: key, ANTHROPIC_API_BASE: provider.url });
  const model = new AnthropicModel({
    handle: "anthropic/claude",
    name: "claude",
    provider: anthropic!,
    port: { environment, fetch: realFetch, limits: defaultModelCallLimits },
    maxOutputTokens: 100,
  });
  const { events, error } = await collect(model, userRequest("Hi"));
  assert.equal(error, undefined);
  const { text, reasoning, calls, end } = summarize(events);
  assert.deepEqual([text, reasoning, calls.length, end?.reason], ["Hello", "Hm", 1, "toolCalls"]);
  assert.deepEqual(
    [provider.requests[0]?.path, provider.requests[0]?.headers["x-api-key"], provider.requests[0]?.headers["anthropic-version"]],
    ["/v1/messages", key, "2023-06-01"],
  );
  assert.equal(provider.count, 2);
});
