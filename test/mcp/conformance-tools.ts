/** The tools, resources and prompts that the official conformance suite asks a server for by name: Kelpie's own are others. */
import {
  acceptedContent,
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  createRequestStateCodec,
  type GetPromptResult,
  type InputRequest,
  inputRequired,
  type InputRequiredResult,
  inputResponse,
  MissingRequiredClientCapabilityError,
  type PromptMessage,
  type RequestStateCodec,
  type ServerContext,
} from "@modelcontextprotocol/server";

type Content = Extract<PromptMessage["content"], { type: string }>;

export interface FixtureTool {
  readonly inputSchema?: object;
  readonly call: (context: ServerContext) => Promise<CallToolResult | InputRequiredResult>;
}

export interface FixturePrompt {
  readonly arguments?: readonly string[];
  readonly get: (given: Readonly<Record<string, string>>, context: ServerContext) => GetPromptResult | InputRequiredResult;
}

/** What a caller carries from one round of questions to the next, signed. */
export const states: RequestStateCodec<{ readonly round: number }> = createRequestStateCodec({
  key: "the key of the conformance suite's server",
});

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const sound = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";
const image: Content = { type: "image", data: pixel, mimeType: "image/png" };

function said(text: string): Content {
  return { type: "text", text };
}

function embedded(uri: string): Content {
  return { type: "resource", resource: { uri, mimeType: "text/plain", text: "An embedded resource" } };
}

function result(...content: readonly Content[]): CallToolResult {
  return { content: [...content] };
}

function always(...content: readonly Content[]): FixtureTool {
  return { call: async () => result(...content) };
}

/** A question for one text or one yes or no, as a form. */
function form(
  message: string,
  field: string,
  property: { readonly type: "string" } | { readonly type: "boolean" } = { type: "string" },
): InputRequest {
  return inputRequired.elicit({ message, requestedSchema: { type: "object", properties: { [field]: property }, required: [field] } });
}

function prompt(text: string, maxTokens: number): InputRequest {
  return inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text } }], maxTokens });
}

/** What the form of this name was filled in with; undefined while it was not. */
function filled({ mcpReq: { inputResponses } }: ServerContext, form: string, field: string): string | undefined {
  const value = acceptedContent(inputResponses, form)?.[field];
  return value === undefined ? undefined : String(value);
}

function capabilitiesOf({ mcpReq: { _meta, envelope } }: ServerContext): ClientCapabilities {
  const from = { ..._meta, ...envelope } as Record<string, unknown>;
  return (from[CLIENT_CAPABILITIES_META_KEY] ?? {}) as ClientCapabilities;
}

const askName: FixtureTool["call"] = async (context) => {
  const name = filled(context, "user_name", "name");
  return name === undefined
    ? inputRequired({ inputRequests: { user_name: form("What is your name?", "name") } })
    : result(said(`Hello, ${name}!`));
};

/** A tool that asks once, with a signed state, and answers with `answer` when that comes back as it was. */
function confirmed(answer: string): FixtureTool["call"] {
  return async (context) =>
    context.mcpReq.requestState<{ readonly round: number }>() === undefined || filled(context, "confirm", "ok") === undefined
      ? inputRequired({
          inputRequests: { confirm: form("Please confirm", "ok", { type: "boolean" }) },
          requestState: await states.mint({ round: 1 }),
        })
      : result(said(answer));
}

export const tools: Readonly<Record<string, FixtureTool>> = {
  test_simple_text: always(said("This is a simple text response for testing.")),
  test_image_content: always(image),
  test_audio_content: always({ type: "audio", data: sound, mimeType: "audio/wav" }),
  test_embedded_resource: always(embedded("test://embedded-resource")),
  test_multiple_content_types: always(said("Several contents"), image, embedded("test://mixed-content-resource")),
  test_error_handling: {
    call: async () => ({ isError: true, ...result(said("This tool intentionally returns an error for testing")) }),
  },
  test_tool_with_progress: {
    async call({ mcpReq: { _meta, notify } }) {
      const { progressToken } = _meta ?? {};
      if (progressToken !== undefined)
        for (const progress of [0, 50, 100])
          await notify({ method: "notifications/progress", params: { progressToken, progress, total: 100, message: `${progress} %` } });
      return result(said("Done"));
    },
  },
  test_tool_with_logging: {
    async call({ mcpReq }) {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) await mcpReq.log("info", data);
      return result(said("Done"));
    },
  },
  test_logging_tool: {
    async call({ mcpReq }) {
      await mcpReq.log("info", "This reaches only callers that have asked for it");
      return result(said("Done"));
    },
  },
  test_missing_capability: {
    async call(context) {
      if (capabilitiesOf(context).sampling === undefined)
        throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
      return result(said("Done"));
    },
  },
  test_streaming_elicitation: { call: askName },
  test_input_required_result_elicitation: { call: askName },
  test_input_required_result_sampling: {
    async call({ mcpReq: { inputResponses } }) {
      const answer = inputResponse(inputResponses, "capital_question");
      return answer.kind === "sampling"
        ? result(said(JSON.stringify(answer.result.content)))
        : inputRequired({ inputRequests: { capital_question: prompt("What is the capital of France?", 100) } });
    },
  },
  test_input_required_result_list_roots: {
    async call({ mcpReq: { inputResponses } }) {
      const answer = inputResponse(inputResponses, "client_roots");
      return answer.kind === "roots"
        ? result(said(answer.roots.map(({ uri }) => uri).join("\n")))
        : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
    },
  },
  test_input_required_result_request_state: { call: confirmed("state-ok") },
  test_input_required_result_tampered_state: { call: confirmed("The state was not tampered with") },
  test_input_required_result_multiple_inputs: {
    async call(context) {
      const { inputResponses } = context.mcpReq;
      const kinds = ["user_name", "greeting", "client_roots"].map((name) => inputResponse(inputResponses, name).kind);
      if (kinds.join(" ") === "elicit sampling roots") return result(said(`Hello, ${filled(context, "user_name", "name")}!`));
      const inputRequests = {
        user_name: form("What is your name?", "name"),
        greeting: prompt("Generate a greeting", 50),
        client_roots: inputRequired.listRoots(),
      };
      return inputRequired({ inputRequests, requestState: await states.mint({ round: 1 }) });
    },
  },
  test_input_required_result_multi_round: {
    async call(context) {
      const round = context.mcpReq.requestState<{ readonly round: number }>()?.round ?? 0;
      const [name, colour] = [filled(context, "step1", "name"), filled(context, "step2", "color")];
      if (round === 2 && colour !== undefined) return result(said(`Your favourite colour is ${colour}`));
      return round >= 1 && name !== undefined
        ? inputRequired({
            inputRequests: { step2: form("Step 2: What is your favorite color?", "color") },
            requestState: await states.mint({ round: 2 }),
          })
        : inputRequired({
            inputRequests: { step1: form("Step 1: What is your name?", "name") },
            requestState: await states.mint({ round: 1 }),
          });
    },
  },
  test_input_required_result_capabilities: {
    async call(context) {
      const { sampling, elicitation } = capabilitiesOf(context);
      return inputRequired({
        inputRequests: {
          ...(sampling === undefined ? {} : { greeting: prompt("Generate a greeting", 50) }),
          ...(elicitation === undefined ? {} : { user_name: form("What is your name?", "name") }),
        },
        requestState: await states.mint({ round: 1 }),
      });
    },
  },
  json_schema_2020_12_tool: {
    ...always(said("ok")),
    inputSchema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: { $anchor: "addressDef", type: "object", properties: { street: { type: "string" }, city: { type: "string" } } },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      // oxlint-disable-next-line unicorn/no-thenable -- a word of JSON Schema
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
  },
};

export const resources: Readonly<Record<string, { readonly mimeType: string } & ({ readonly text: string } | { readonly blob: string })>> =
  {
    "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
    "test://static-binary": { mimeType: "image/png", blob: pixel },
  };

function spoken(...content: readonly Content[]): GetPromptResult {
  return { messages: content.map((each) => ({ role: "user", content: each })) };
}

export const prompts: Readonly<Record<string, FixturePrompt>> = {
  test_simple_prompt: { get: () => spoken(said("This is a simple prompt for testing.")) },
  test_prompt_with_arguments: {
    arguments: ["arg1", "arg2"],
    get: ({ arg1, arg2 }) => spoken(said(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  },
  test_prompt_with_embedded_resource: {
    arguments: ["resourceUri"],
    get: ({ resourceUri }) => spoken(embedded(resourceUri!), said("Please process the embedded resource above.")),
  },
  test_prompt_with_image: { get: () => spoken(image, said("Please analyze the image above.")) },
  test_input_required_result_prompt: {
    get(_, context) {
      const about = filled(context, "user_context", "context");
      return about === undefined
        ? inputRequired({ inputRequests: { user_context: form("What context should the prompt use?", "context") } })
        : spoken(said(`Use this context: ${about}`));
    },
  },
};
