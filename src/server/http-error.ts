/** Answers other than success, exactly as Letta V1 words them. */

export interface ErrorBody {
  readonly [field: string]: unknown;
}

/** Thrown by whatever answers a request, and sent as it is. Everything else that is thrown goes through `answerTo`. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, body: ErrorBody, headers: Readonly<Record<string, string>> = {}) {
    super(typeof body["detail"] === "string" ? body["detail"] : `HTTP ${status}`);
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** 400: the request is well formed and still makes no sense. */
export function invalidArgument(detail: string): HttpError {
  return new HttpError(400, { detail: `INVALID_ARGUMENT: ${detail}` });
}

export function unauthorized(): HttpError {
  return new HttpError(401, { detail: "Unauthorized" }, { "www-authenticate": "Bearer" });
}

export function forbidden(detail: string): HttpError {
  return new HttpError(403, { detail });
}

/** 404 for an entity. V1 words a missing agent differently from everything else. */
export function notFound(kind: string, id: string): HttpError {
  return kind === "agent"
    ? new HttpError(404, { detail: "Agent not found" })
    : new HttpError(404, { detail: `NOT_FOUND: ${capitalized(kind)} not found with id='${shorten(id)}'` });
}

/** 404 for a path that the server does not have, and for what only Letta's cloud has. */
export function noSuchPath(): HttpError {
  return new HttpError(404, { detail: "Not Found" });
}

/** 409. The official clients would send the request again, three times in all, unless they are told not to. */
export function conflict(detail: string, fields: ErrorBody = {}): HttpError {
  return new HttpError(409, { detail: `CONFLICT: ${detail}`, ...fields }, { "x-should-retry": "false" });
}

export function tooLarge(detail: string): HttpError {
  return new HttpError(413, { detail });
}

/** 422: a part of the request is not what it should be. `traceId` and the shape are filled in where the answer is made. */
export function unprocessable(detail: string, examples?: readonly string[]): HttpError {
  return new HttpError(422, { detail, ...(examples === undefined ? {} : { examples }) });
}

/** 503 for who waits for a run while the server stops. A client that sent its message again would say it twice. */
export function stopping(): HttpError {
  return new HttpError(
    503,
    { detail: "The server is stopping; the run goes on at its next start, or at another node" },
    { "x-should-retry": "false" },
  );
}

/** Seconds for a Retry-After header: at least one, as 0 means "at once" to some clients. */
export function retryAfter(milliseconds: number): Record<string, string> {
  return {
    "retry-after": String(Math.max(1, Math.ceil(milliseconds / 1000))),
    "retry-after-ms": String(Math.max(1, Math.ceil(milliseconds))),
  };
}

const shownCharactersMax = 80;

/** A value as an error message shows it: JSON, and no longer than a line. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  let text: string | undefined;
  try {
    text = typeof value === "string" ? JSON.stringify(value.slice(0, shownCharactersMax + 1)) : JSON.stringify(value);
  } catch {
    // What cannot be written as JSON (a cycle, a bigint) is described by its type.
    text = typeof value;
  }
  return shorten(text ?? typeof value);
}

function shorten(text: string): string {
  return text.length <= shownCharactersMax ? text : `${text.slice(0, shownCharactersMax).toWellFormed()}…`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
