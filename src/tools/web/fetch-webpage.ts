/** `fetch_webpage`: a page of the public web as text. */
import { type PublicAnswer, type PublicRequestOptions, PublicRequestError, requestPublic } from "../../sandbox/public-request.ts";
import { objectSchema, optional, optionalInteger, type Parameter, required, ToolError } from "../state-tool.ts";
import type { OutsideTool, ToolInput, ToolResult } from "../tool.ts";
import { htmlText } from "./html-text.ts";

export const fetchWebpageName = "fetch_webpage";
export const fetchWebpageDescription =
  "Gets a page of the public web as text: HTML with its links, and plain text, Markdown, JSON, XML and the like as they are.";
export const fetchWebpageParameters: { readonly [name: string]: Parameter } = {
  url: required({ type: "string", description: "The page's address, with http:// or https://." }),
  start: optional({ type: "integer", description: "From which character of the text on, for a long page. Defaults to 0.", default: 0 }),
};

/** What is made into text in a fraction of a second, however it is built. */
const bytesMax = 3 * 2 ** 20;
const timeoutMilliseconds = 60_000;
const charactersShown = 30_000;
const urlCharactersMax = 4_000;
const headers = { "user-agent": "Kelpie/0.1", accept: "text/html, text/markdown, text/plain, application/json, */*;q=0.1" };

export function fetchWebpageTool(options: PublicRequestOptions): OutsideTool {
  return {
    name: fetchWebpageName,
    description: fetchWebpageDescription,
    parameters: objectSchema(fetchWebpageParameters),
    effect: "readOnly",
    timeoutMilliseconds,
    execute: async (input, { signal }) => {
      try {
        return await fetchPage(input, options, signal);
      } catch (error) {
        if (!(error instanceof PublicRequestError || error instanceof ToolError)) throw error;
        return { status: "error", text: `The page was not got: ${error.message}` };
      }
    },
  };
}

async function fetchPage(input: ToolInput, options: PublicRequestOptions, signal: AbortSignal): Promise<ToolResult> {
  const { url } = input;
  if (typeof url !== "string" || url.length > urlCharactersMax)
    throw new ToolError(`url is an address of at most ${urlCharactersMax} characters`);
  const start = optionalInteger(input, "start", { least: 0, most: bytesMax }) ?? 0;
  const answer = await requestPublic({ url, method: "GET", bytesMax, headers }, options, signal);
  const page = textOf(answer);
  const isDone = answer.status >= 200 && answer.status < 300;
  const shown = page.slice(start, start + charactersShown).toWellFormed();
  const head = [
    ...(answer.url === new URL(url).href ? [] : [`It is at ${answer.url}`]),
    ...(isDone ? [] : [`The server answered with the status ${answer.status}`]),
  ];
  const end = start + shown.length;
  const rest = end < page.length ? [`[characters ${start} to ${end} of ${page.length}; go on with start ${end}]`] : [];
  return { status: isDone ? "success" : "error", text: [...head, shown === "" ? "[no text]" : shown, ...rest].join("\n\n") };
}

/** @throws {ToolError} It is no text. */
function textOf({ contentType, body, url }: PublicAnswer): string {
  const [type = ""] = contentType.toLowerCase().split(";");
  const kind = type.trim();
  const isHtml =
    kind === "text/html" ||
    kind === "application/xhtml+xml" ||
    (kind === "" && /^\s*<(!doctype html|html)/i.test(body.toString("latin1", 0, 200)));
  const isText =
    isHtml || kind === "" || kind.startsWith("text/") || /^application\/(.*\+)?(json|xml|yaml|javascript|toml|x-ndjson)$/.test(kind);
  if (!isText || (kind === "" && body.includes(0)))
    throw new ToolError(`it is ${kind === "" ? "no text" : kind.slice(0, 100)}, of ${body.length} bytes`);
  const text = decode(body, contentType, isHtml);
  if (!isHtml) return text;
  const page = htmlText(text, url);
  return page.title === "" ? page.text : `# ${page.title}\n\n${page.text}`;
}

function decode(body: Buffer, contentType: string, isHtml: boolean): string {
  const declared = /charset\s*=\s*["']?([\w.:-]{1,40})/i;
  const charset = declared.exec(contentType)?.[1] ?? (isHtml ? declared.exec(body.toString("latin1", 0, 2_048))?.[1] : undefined);
  try {
    return new TextDecoder(charset ?? "utf-8").decode(body);
  } catch {
    // A name that no one knows: what is not UTF-8 is shown as such.
    return new TextDecoder().decode(body);
  }
}
