/** What an agent gets that its creator did not give. */
import type { Random } from "../environment/environment.ts";
import type { AgentType } from "./agent.ts";

const adjectives = [
  "Amber",
  "Brisk",
  "Calm",
  "Clever",
  "Copper",
  "Eager",
  "Gentle",
  "Keen",
  "Lively",
  "Mellow",
  "Nimble",
  "Patient",
  "Quiet",
  "Russet",
  "Steady",
  "Swift",
];
const nouns = [
  "Badger",
  "Beacon",
  "Cedar",
  "Compass",
  "Falcon",
  "Harbor",
  "Heron",
  "Kelpie",
  "Lantern",
  "Maple",
  "Meadow",
  "Otter",
  "Pebble",
  "Raven",
  "Thistle",
  "Willow",
];

/** A name such as `QuietHeron`; not unique. */
export function agentName(random: Random): string {
  const pick = (words: readonly string[]): string => words[Math.floor(random.fraction() * words.length)]!;
  return pick(adjectives) + pick(nouns);
}

const memoryPart =
  "You have a memory that lasts longer than any conversation. Its core is the memory blocks shown below: they are always in front of you. When you learn something that will matter later (who you are talking to, what they want, what was decided), change the right block with your memory tools, without being asked and without making a show of it. What is too long for a block belongs into archival memory, if you have the tools for it. Earlier messages that you no longer see can be searched.";

/** The system prompt of an agent that was given none. */
export function defaultSystemPrompt(type: AgentType): string {
  if (type === "sleeptime_agent" || type === "voice_sleeptime_agent")
    return "You tend the memory of another agent in the background. Read the new messages, and bring the memory blocks below up to date with your tools: add what matters, correct what has changed, keep each block short and free of repetition. When nothing is left to change, call memory_finish_edits.";
  if (type === "react_agent" || type === "workflow_agent")
    return "You are a capable assistant. Work on the request step by step, use the tools that you have where they help, and end with a clear answer.";
  if (type === "letta_v1_agent")
    return `You are a helpful agent that people come back to. ${memoryPart} Answer in plain words. You may use tools as often as the task needs before you answer; when you answer without a tool call, your turn ends.`;
  return `You are a helpful agent that people come back to. ${memoryPart} The user sees only what you send with send_message; anything else you write is your private thought.`;
}
