/**
 * One model call over HTTP: attempts, limits of time and size, and errors that say what to do.
 *
 * H1. A call ends: every wait for the provider has a limit, and so have attempts, bytes and the whole.
 * H2. After the first event nothing is tried again: what was emitted stands.
 * H3. No error, log or event holds the provider's key.
 */
import { SecretMask } from "../base/secret-mask.ts";
import type { Cancel, Clock } from "../environment/environment.ts";
import type { HttpPort } from "./http-port.ts";
import { ModelError, type ModelErrorKind, type ModelEvent } from "./model.ts";
import type { Provider } from "./provider.ts";
import { readProviderError } from "./provider-error.ts";
import { type WireDecoder, WireReader } from "./wire-reader.ts";

export interface ModelCall {
  readonly provider: Provider;
  readonly handle: string;
  /** Appended to the provider's base URL: `/chat/completions`. */
  readonly path: string;
  readonly body: string;
  /** `requestId` is the provider's, from the headers. */
  makeDecoder(requestId: string | undefined): WireDecoder;
}

const backoffMilliseconds = 500;
const backoffMillisecondsMax = 8_000;
const errorBodyBytesMax = 64 * 1024;
/** Made once: an abort without a reason makes an exception with a trace of its own, which costs more than a token. */
const callIsOver = new Error("The call is over");
const transientKinds: ReadonlySet<ModelErrorKind> = new Set(["rateLimit", "providerDown", "timeout"]);

export async function* runModelCall(call: ModelCall, port: HttpPort, signal: AbortSignal): AsyncGenerator<ModelEvent> {
  const { clock, log, random } = port.environment;
  const startedAt = clock.elapsed();
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    let emitted = false;
    let failure: ModelError;
    try {
      for await (const events of runAttempt(call, port, startedAt + port.limits.callMillisecondsMax, signal)) {
        for (const event of events) {
          signal.throwIfAborted();
          emitted = true;
          yield event;
        }
      }
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ModelError) || emitted || attempt >= port.limits.attemptsMax || !transientKinds.has(error.kind)) throw error;
      failure = error;
    }
    const backoff = Math.min(backoffMilliseconds * 2 ** (attempt - 1), backoffMillisecondsMax) * (0.5 + random.fraction() / 2);
    const wait = failure.retryAfterMilliseconds ?? backoff;
    if (wait > port.limits.retryWaitMillisecondsMax || clock.elapsed() - startedAt + wait > port.limits.retryMillisecondsMax) throw failure;
    log.write("warn", "Model call failed and is tried again", {
      handle: call.handle,
      kind: failure.kind,
      attempt,
      waitMilliseconds: Math.round(wait),
    });
    await clock.sleep(wait, signal);
  }
}

/** Yields what each piece of the answer brings. */
async function* runAttempt(call: ModelCall, port: HttpPort, deadline: number, signal: AbortSignal): AsyncGenerator<readonly ModelEvent[]> {
  const { limits } = port;
  const { clock } = port.environment;
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal.reason);
  let limitError: ModelError | undefined;
  const giveUp = (predicate: string): void => {
    limitError = callError(call, "timeout", predicate);
    controller.abort(limitError);
  };
  const watchdog = new Watchdog(clock, (waited) => giveUp(`sent nothing for ${waited / 1000} s`));
  const cancelDeadline = clock.schedule(Math.max(0, deadline - clock.elapsed()), () =>
    giveUp(`did not finish within ${limits.callMillisecondsMax / 1000} s`),
  );
  signal.addEventListener("abort", abort);
  const stop = (): void => {
    signal.removeEventListener("abort", abort);
    watchdog.stop();
    cancelDeadline();
    controller.abort(callIsOver);
  };
  let isDraining = false;
  try {
    watchdog.expect(limits.firstByteMillisecondsMax);
    const response = await send(call, port, controller.signal);
    if (!response.ok) {
      watchdog.expect(limits.afterFinishMillisecondsMax);
      throw await statusError(call, port, response);
    }
    const wire = new WireReader(
      call.makeDecoder(response.headers.get("x-request-id") ?? response.headers.get("request-id") ?? undefined),
      limits,
    );
    // A status such as 204 has no body, which ends at once.
    const body = (response.body ?? new Blob([]).stream()).getReader();
    let isBroken = false;
    while (!wire.isDone) {
      watchdog.expect(wire.isFinished ? limits.afterFinishMillisecondsMax : limits.silenceMillisecondsMax);
      let piece: Uint8Array | undefined;
      try {
        piece = (await body.read()).value;
      } catch (error) {
        if (!wire.isFinished || signal.aborted) throw networkError(call, error);
        isBroken = true;
      }
      watchdog.rest();
      if (piece === undefined) break;
      const events = wire.read(piece);
      if (events.length > 0) yield events;
      if (wire.failure !== undefined) throw named(call, wire.failure);
    }
    if (wire.isDone) {
      // Read to the end beside the caller, so that the connection can serve the next call.
      isDraining = true;
      watchdog.expect(limits.afterFinishMillisecondsMax);
      void drain(body, limits.responseBytesMax).finally(stop);
    }
    const events = isBroken ? wire.finish() : wire.end();
    if (events.length > 0) yield events;
    if (wire.failure !== undefined) throw named(call, wire.failure);
  } catch (error) {
    // An abort shows in many shapes; its reason is the one that tells.
    throw signal.aborted ? signal.reason : (limitError ?? error);
  } finally {
    if (!isDraining) stop();
  }
}

async function send(call: ModelCall, port: HttpPort, signal: AbortSignal): Promise<Response> {
  const { provider } = call;
  const headers = { ...providerHeaders(provider), "content-type": "application/json", accept: "text/event-stream, application/json" };
  try {
    // A redirect could carry the key to another host.
    return await port.fetch(provider.baseUrl + call.path, { method: "POST", headers, body: call.body, signal, redirect: "manual" });
  } catch (error) {
    throw networkError(call, error);
  }
}

async function drain(body: ReadableStreamDefaultReader<Uint8Array>, bytesMax: number): Promise<void> {
  try {
    for (let count = 0; count <= bytesMax;) {
      const { value } = await body.read();
      if (value === undefined) return;
      count += value.length;
    }
  } catch {
    // The answer is complete: a connection that breaks now is only not reused.
  }
}

export function providerHeaders(provider: Provider): Record<string, string> {
  const headers: Record<string, string> = { "user-agent": "kelpie" };
  if (provider.protocol === "anthropicMessages") headers["anthropic-version"] = "2023-06-01";
  if (provider.apiKey === undefined) return headers;
  if (provider.protocol === "anthropicMessages") headers["x-api-key"] = provider.apiKey;
  else headers["authorization"] = `Bearer ${provider.apiKey}`;
  return headers;
}

async function statusError(call: ModelCall, port: HttpPort, response: Response): Promise<ModelError> {
  if (response.status >= 300 && response.status < 400)
    return callError(
      call,
      "invalidResponse",
      `answered with a redirect (${response.status}), which is not followed${addressAdvice(call.provider)}`,
    );
  const { kind, text } = readProviderError(response.status, await readText(response));
  const wait = retryAfter(response.headers, port.environment.clock);
  const words = text === "" ? "" : `: ${text}`;
  return callError(
    call,
    kind,
    `answered ${response.status}${words}${advice(kind, call.provider, response.status)}`,
    wait === undefined ? {} : { retryAfterMilliseconds: wait },
  );
}

async function readText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let count = 0;
  try {
    for await (const bytes of response.body ?? []) {
      parts.push(bytes);
      count += bytes.length;
      if (count >= errorBodyBytesMax) break;
    }
  } catch {
    // The status says what matters; its explanation came only in part.
  }
  return Buffer.concat(parts).toString("utf8");
}

function retryAfter(headers: Headers, clock: Clock): number | undefined {
  const milliseconds = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const seconds = Number(text);
  if (seconds >= 0) return seconds * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - clock.now());
}

function advice(kind: ModelErrorKind, provider: Provider, status: number): string {
  if (kind === "authentication") {
    if (provider.keyVariable === undefined) return "; give the provider a valid key";
    return provider.apiKey === undefined ? `; set ${provider.keyVariable}` : `; set ${provider.keyVariable} to a valid key`;
  }
  if (kind === "insufficientCredits") return `; add credit to the ${provider.name} account`;
  if (kind === "contextOverflow") return "; the conversation is longer than the model's context window";
  if (status === 404 && provider.type === "ollama") return "; `ollama pull` the model first";
  if (status === 404) return `; check the model's name${provider.urlVariable === undefined ? "" : ` and ${provider.urlVariable}`}`;
  return "";
}

function networkError(call: ModelCall, error: unknown): ModelError {
  if (error instanceof ModelError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
  if (code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT")
    return callError(call, "timeout", "sent nothing for 300 s", { cause: error });
  const text = cause instanceof Error && cause.message !== "" ? cause.message : code;
  const isUnreachable = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/.test(code);
  if (isUnreachable) return callError(call, "providerDown", `cannot be reached (${code})${addressAdvice(call.provider)}`, { cause: error });
  return callError(call, "providerDown", `broke the connection (${text})`, { cause: error });
}

function addressAdvice(provider: Provider): string {
  return provider.urlVariable === undefined
    ? "; is it running, and is its address right?"
    : `; is it running, and is ${provider.urlVariable} right?`;
}

/** Names the provider in a decoder's error. */
function named(call: ModelCall, error: Error): Error {
  return error instanceof ModelError ? callError(call, error.kind, error.message) : error;
}

function callError(
  call: ModelCall,
  kind: ModelErrorKind,
  predicate: string,
  options: { readonly cause?: unknown; readonly retryAfterMilliseconds?: number } = {},
): ModelError {
  const message = `Cannot get an answer of ${call.handle}: ${call.provider.baseUrl} ${predicate}`;
  return new ModelError(kind, withoutKey(message, call.provider), options);
}

/** Some servers repeat the key that they reject. */
export function withoutKey(text: string, provider: Provider): string {
  // What is shorter is a placeholder such as "EMPTY", and perhaps an everyday word.
  return provider.apiKey === undefined || provider.apiKey.length < 8 ? text : new SecretMask([provider.apiKey]).apply(text);
}

/** Calls back when what is expected does not come. One timer serves many waits: setting one for each piece would cost more than the piece. */
class Watchdog {
  readonly #clock: Clock;
  readonly #onSilence: (waitedMilliseconds: number) => void;
  #cancel: Cancel | undefined;
  #dueAt = Infinity;
  #timerAt = Infinity;
  #milliseconds = 0;

  constructor(clock: Clock, onSilence: (waitedMilliseconds: number) => void) {
    this.#clock = clock;
    this.#onSilence = onSilence;
  }

  expect(milliseconds: number): void {
    this.#milliseconds = milliseconds;
    this.#dueAt = this.#clock.elapsed() + milliseconds;
    if (this.#timerAt > this.#dueAt) this.#setTimer();
  }

  /** What was expected has come. */
  rest(): void {
    this.#dueAt = Infinity;
  }

  stop(): void {
    this.rest();
    this.#cancel?.();
  }

  #setTimer(): void {
    this.#cancel?.();
    this.#timerAt = this.#dueAt;
    this.#cancel = this.#clock.schedule(Math.max(0, this.#dueAt - this.#clock.elapsed()), () => {
      this.#timerAt = Infinity;
      if (this.#dueAt === Infinity) return;
      if (this.#clock.elapsed() >= this.#dueAt) this.#onSilence(this.#milliseconds);
      else this.#setTimer();
    });
  }
}
