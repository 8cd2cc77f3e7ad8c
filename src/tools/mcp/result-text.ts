import type { CallToolResult } from "@modelcontextprotocol/client";
import type { SecretMask } from "../../base/secret-mask.ts";

type Content = CallToolResult["content"][number];

/** What a model sees of a result: its texts, and what else there is by kind and size. Of a longer one the begin and the end. */
export function resultText({ content, structuredContent }: CallToolResult, mask: SecretMask, charactersMax: number): string {
  const parts = content.map(describeContent);
  if (parts.length === 0 && structuredContent !== undefined) parts.push(JSON.stringify(structuredContent));
  // First, as what is left of a secret that was cut is not found any more.
  return shortened(mask.apply(parts.join("\n")), charactersMax);
}

function describeContent(content: Content): string {
  switch (content.type) {
    case "text":
      return content.text;
    case "image":
    case "audio":
      return `[${content.type}, ${content.mimeType}, ${bytesOf(content.data)} bytes]`;
    case "resource_link":
      return `[resource ${content.uri}${content.name === undefined ? "" : `, ${content.name}`}]`;
    case "resource": {
      const { resource } = content;
      return "text" in resource ? resource.text : `[resource ${resource.uri}, ${bytesOf(resource.blob)} bytes]`;
    }
    default:
      return `[${(content as { readonly type: string }).type}]`;
  }
}

function bytesOf(base64: string): number {
  return Math.floor((base64.length * 3) / 4);
}

function shortened(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  const marker = `\n[… of ${text.length} characters the middle is left out: ask for less at a time …]\n`;
  const room = Math.max(0, charactersMax - marker.length);
  const head = Math.ceil((room * 3) / 4);
  return `${text.slice(0, head)}${marker}${text.slice(text.length - (room - head))}`.slice(0, charactersMax);
}
