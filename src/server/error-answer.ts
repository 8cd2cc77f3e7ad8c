/** What each error of the layers below means to an HTTP client. The one place that knows. */
import {
  ActivationLostError,
  ActorElsewhereError,
  ActorMessageError,
  ActorsStoppedError,
  CancelledError,
  DeadlineExceededError,
  InvocationIdReusedError,
  MailboxFullError,
  ReplyNotKeptError,
  UnknownActorTypeError,
} from "../actors/actor.ts";
import { InvalidAgentError } from "../agents/agent-directory.ts";
import { AgentNotFoundError } from "../agents/agent.ts";
import { CompactionError, NotFoundError } from "../agents/conversation-service.ts";
import { HandshakeError, NodeUnreachableError, OverloadedError, RemoteError, ReplyLostError } from "../cluster/transport.ts";
import type { Environment } from "../environment/environment.ts";
import {
  ArchiveAttachedError,
  BlockLimitError,
  CoreLimitError,
  DuplicateBlockLabelError,
  InvalidMemoryError,
  MemoryNotFoundError,
  ScanLimitError,
  UnknownCursorError,
} from "../memory/memory.ts";
import { ModelError, type ModelErrorKind, ModelNotFoundError } from "../models/model.ts";
import { ProviderConfigurationError } from "../models/providers.ts";
import { SealError } from "../storage/sealing-key.ts";
import { CommitUnknownError, LimitError, StoreUnavailableError } from "../storage/store.ts";
import { ConflictError } from "../storage/transaction.ts";
import {
  InvalidMcpAnswerError,
  InvalidMcpServerError,
  McpAuthorizationError,
  McpConnectionError,
  McpQuestionNotFoundError,
  McpServerNameTakenError,
  McpServerNotFoundError,
  UnknownAuthorizationError,
} from "../tools/mcp/mcp.ts";
import { PolicyChangedError } from "../tools/policy-record.ts";
import { InvalidSkillError } from "../tools/skills/skill-file.ts";
import { SkillNotFoundError } from "../tools/skills/skills.ts";
import { InvalidToolError, ToolNameTakenError, ToolNotFoundError } from "../tools/tool-record.ts";
import { ToolRuleError } from "../tools/tool-rules.ts";
import { ProviderNameTakenError } from "./providers.ts";
import { conflict, HttpError, invalidArgument, notFound, retryAfter, tooLarge, unprocessable } from "./http-error.ts";

/** An answer before it is anybody's response. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The answer to a request that failed with `error`. What nobody expected is logged under the trace id that the answer carries, and says nothing of the inside. */
export function errorAnswer(error: unknown, environment: Environment, request: { readonly method: string; readonly url: string }): Answer {
  const known = error instanceof HttpError ? error : translate(error);
  if (known !== undefined) {
    const body = known.status === 422 ? { trace_id: traceId(environment), ...known.body } : known.body;
    return jsonAnswer(known.status, body, known.headers);
  }
  const trace = traceId(environment);
  environment.log.write("error", "A request failed", { trace, method: request.method, path: pathOf(request.url), error });
  return jsonAnswer(500, { detail: "An unknown error occurred", trace_id: trace });
}

/** `errorAnswer` as a response. */
export function errorResponse(
  error: unknown,
  environment: Environment,
  request: { readonly method: string; readonly url: string },
): Response {
  const { status, headers, body } = errorAnswer(error, environment, request);
  return new Response(body, { status, headers });
}

export function jsonAnswer(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}

export function jsonResponse(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/** A client must not repeat by itself what may already have happened. */
const doNotRetry = { "x-should-retry": "false" };

function translate(error: unknown): HttpError | undefined {
  if (error instanceof ActorMessageError) return unprocessable(`body: ${error.message}`);
  if (error instanceof MailboxFullError) return new HttpError(429, { detail: error.message }, retryAfter(error.retryAfterMilliseconds));
  if (error instanceof DeadlineExceededError)
    return new HttpError(504, { detail: error.message, started: error.started }, error.started ? doNotRetry : {});
  if (error instanceof InvocationIdReusedError) return unprocessable(`headers.Idempotency-Key: ${error.message}`);
  if (error instanceof ReplyNotKeptError) return conflict(error.message);
  if (error instanceof ActorElsewhereError || error instanceof ActorsStoppedError)
    return new HttpError(503, { detail: error.message }, retryAfter(1_000));
  if (error instanceof ActivationLostError) return new HttpError(503, { detail: error.message }, { ...retryAfter(1_000), ...doNotRetry });
  if (error instanceof UnknownActorTypeError) return notFound("actor type", error.message);
  if (error instanceof CancelledError) return conflict(error.message);
  if (error instanceof ModelNotFoundError) return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof ModelError) return modelErrorAnswer(error);
  if (error instanceof InvalidMemoryError) return unprocessable(`${error.field}: ${error.message}`);
  if (error instanceof BlockLimitError || error instanceof CoreLimitError) return unprocessable(`value: ${error.message}`);
  if (error instanceof MemoryNotFoundError) return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof DuplicateBlockLabelError || error instanceof ArchiveAttachedError) return conflict(error.message);
  if (error instanceof UnknownCursorError || error instanceof ScanLimitError) return unprocessable(`query: ${error.message}`);
  if (error instanceof InvalidSkillError) return unprocessable(`body.files: ${error.message}`);
  if (error instanceof SkillNotFoundError) return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof AgentNotFoundError) return notFound("agent", "");
  if (error instanceof NotFoundError) return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof InvalidAgentError || error instanceof ToolRuleError || error instanceof CompactionError)
    return invalidArgument(error.message);
  if (error instanceof InvalidToolError || error instanceof ToolNameTakenError) return invalidArgument(error.message);
  if (error instanceof ToolNotFoundError) return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof InvalidMcpServerError) return invalidArgument(error.message);
  if (error instanceof McpServerNameTakenError) return conflict(error.message);
  if (error instanceof InvalidMcpAnswerError) return unprocessable(`body.content: ${error.message}`);
  if (error instanceof McpServerNotFoundError || error instanceof McpQuestionNotFoundError)
    return new HttpError(404, { detail: `NOT_FOUND: ${error.message}` });
  if (error instanceof McpAuthorizationError)
    return new HttpError(409, {
      detail: `The MCP server ${error.serverName} asks for your authorization: open ${error.url} in a browser`,
      authorization_url: error.url,
    });
  if (error instanceof SealError || error instanceof PolicyChangedError) return conflict(error.message);
  if (error instanceof UnknownAuthorizationError) return invalidArgument(error.message);
  if (error instanceof McpConnectionError) return new HttpError(502, { detail: error.message });
  if (error instanceof ProviderConfigurationError) return invalidArgument(error.message);
  if (error instanceof ProviderNameTakenError) return conflict(error.message);
  if (error instanceof StoreUnavailableError)
    return new HttpError(
      503,
      { detail: `The store cannot be used now: ${sentence(error.message)} Nothing was changed` },
      retryAfter(1_000),
    );
  if (error instanceof CommitUnknownError)
    return new HttpError(503, { detail: `${error.message}. Look whether the change is there before sending it again` }, doNotRetry);
  if (error instanceof NodeUnreachableError || error instanceof HandshakeError || error instanceof OverloadedError)
    return new HttpError(503, { detail: `Another node was not asked: ${error.message}` }, retryAfter(1_000));
  if (error instanceof ReplyLostError)
    return new HttpError(503, { detail: `Another node did not answer: ${error.message}. It may have done what it was asked` }, doNotRetry);
  if (error instanceof RemoteError) return new HttpError(502, { detail: `Another node failed: ${error.message}` }, doNotRetry);
  if (error instanceof LimitError) return tooLarge(error.message);
  if (error instanceof ConflictError) return conflict(error.message);
  return undefined;
}

/** Letta's types and statuses of a model's errors. */
export const modelErrors: Readonly<Record<ModelErrorKind, { readonly type: string; readonly status: number }>> = {
  authentication: { type: "llm_authentication", status: 401 },
  insufficientCredits: { type: "llm_insufficient_credits", status: 402 },
  rateLimit: { type: "llm_rate_limit", status: 429 },
  contextOverflow: { type: "llm_bad_request", status: 400 },
  invalidRequest: { type: "llm_bad_request", status: 400 },
  providerDown: { type: "llm_error", status: 502 },
  timeout: { type: "llm_timeout", status: 504 },
  contentFilter: { type: "llm_bad_request", status: 400 },
  invalidResponse: { type: "llm_error", status: 502 },
};

function modelErrorAnswer(error: ModelError): HttpError {
  const { type, status } = modelErrors[error.kind];
  const headers = error.retryAfterMilliseconds === undefined ? {} : retryAfter(error.retryAfterMilliseconds);
  return new HttpError(status, { error: { type, message: error.message, detail: null } }, headers);
}

function sentence(text: string): string {
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

function traceId(environment: Environment): string {
  return environment.random.uuid().replaceAll("-", "");
}

/** Without the query, which may hold what people search for. */
function pathOf(url: string): string {
  return new URL(url, "http://localhost").pathname;
}
