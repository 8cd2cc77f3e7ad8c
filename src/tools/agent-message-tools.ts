/** The tools with which agents talk to each other, under the names and arguments of Letta V1. */
import { required, stateTool, textArgument, ToolError } from "./state-tool.ts";
import type { StateTool } from "./tool.ts";

export const sendMessageToAgentAsync: StateTool = stateTool(
  {
    name: "send_message_to_agent_async",
    description:
      "Sends a message to another agent and does not wait for what it does with it. It may answer later, with a message of its own to you.",
    parameters: {
      message: required({ type: "string", description: "What the other agent is to read." }),
      other_agent_id: required({ type: "string", description: "The id of the agent that it is for." }),
    },
  },
  async (input, context) => {
    const { refused } = await context.sendToAgent(textArgument(input, "other_agent_id"), textArgument(input, "message"));
    if (refused !== undefined) throw new ToolError(refused);
    return "The message was sent.";
  },
);
