/** What tests ask of the nodes of a cluster, over HTTP. */
import { setTimeout as sleep } from "node:timers/promises";
import { ApiClient, type ApiMessage } from "../../src/cli/api-client.ts";
import type { ClusterAnswer } from "../../src/server/routes/cluster.ts";

const waitMillisecondsMax = 30_000;

export function clientOf(url: string): ApiClient {
  return new ApiClient(url, undefined);
}

export async function clusterAt(url: string): Promise<ClusterAnswer> {
  return await clientOf(url).request<ClusterAnswer>("GET", "/v1/cluster");
}

/** `name state` of each member, sorted, as that node sees them; once it sees `count`. */
export async function membersAt(url: string, count: number): Promise<string[]> {
  for (const end = performance.now() + waitMillisecondsMax; ; await sleep(20)) {
    const { members } = await clusterAt(url);
    const seen = members.map(({ name, state }) => `${name} ${state}`).toSorted();
    if ((members.length === count && members.every(({ state }) => state === "up")) || performance.now() > end) return seen;
  }
}

export async function newAgent(url: string): Promise<string> {
  const body = { model: "kelpie/demo", memory_blocks: [{ label: "human", value: "" }] };
  return (await clientOf(url).request<{ readonly id: string }>("POST", "/v1/agents", { body })).id;
}

/** What the agent says to a message that is sent through that node. */
export async function answerFrom(url: string, agentId: string, text: string): Promise<string> {
  const body = { messages: [{ role: "user", content: text }] };
  const path = `/v1/agents/${agentId}/messages`;
  const { messages } = await clientOf(url).request<{ readonly messages: readonly ApiMessage[] }>("POST", path, { body });
  return messages.map((message) => (message.message_type === "assistant_message" ? String(message["content"]) : "")).join("");
}
