import type { CallToolResult } from "@modelcontextprotocol/client";
import type { ResultImage } from "../../models/model.ts";
import { mcpLimits } from "./mcp.ts";

/** What providers of models take, and how each begins. */
const beginnings: { readonly [mediaType: string]: RegExp } = {
  "image/png": /^\x89PNG\r\n\x1a\n/,
  "image/jpeg": /^\xff\xd8\xff/,
  "image/gif": /^GIF8[79]a/,
  "image/webp": /^RIFF[^]{4}WEBP/,
};

/** The images of a result that a model can be shown: the first ones, as many as fit. The text names all. */
export function resultImages({ content }: CallToolResult): readonly ResultImage[] {
  const images: ResultImage[] = [];
  let characters = 0;
  for (const { mediaType, base64 } of content.flatMap(imagesIn)) {
    if (images.length === mcpLimits.imagesPerResult || !isImage(mediaType, base64)) continue;
    if (characters + base64.length > mcpLimits.imageCharactersPerResult) continue;
    characters += base64.length;
    images.push({ mediaType, base64 });
  }
  return images;
}

function imagesIn(content: CallToolResult["content"][number]): ResultImage[] {
  if (content.type === "image") return [{ mediaType: content.mimeType, base64: content.data }];
  if (content.type !== "resource" || !("blob" in content.resource)) return [];
  return [{ mediaType: content.resource.mimeType ?? "", base64: content.resource.blob }];
}

/** A provider refuses the whole request for one that is not what it says. */
function isImage(mediaType: string, base64: string): boolean {
  const beginning = Object.hasOwn(beginnings, mediaType) ? beginnings[mediaType] : undefined;
  if (beginning === undefined || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return false;
  return beginning.test(Buffer.from(base64.slice(0, 32), "base64").toString("latin1"));
}
