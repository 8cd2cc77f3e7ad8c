/** The layer of agents, put together over the layers below it. */
import type { Actors } from "../actors/actor.ts";
import { AgentDirectory } from "./agent-directory.ts";
import { conversationActorDefinition } from "./conversation-actor.ts";
import type { AgentEnvironment } from "./conversation-environment.ts";
import { CallLimiter } from "../tools/call-limiter.ts";
import { ConversationService } from "./conversation-service.ts";
import { RunFeeds } from "./run-events.ts";
import { RunWork } from "./run-work.ts";

/** How long a stop waits for the steps in progress. */
const stopMillisecondsMax = 15_000;

export interface Agents {
  readonly directory: AgentDirectory;
  readonly conversations: ConversationService;
  /** The live ends of the runs that this node works on. */
  readonly feeds: RunFeeds;
  /** Lets every run finish its step, for at most about 15 s; what is left goes on at the next start. */
  stop(): Promise<void>;
}

export interface AgentLayers extends Omit<AgentEnvironment, "feeds" | "work" | "limiter" | "sealingKey"> {
  readonly actors: Actors;
  /** Without one no secrets are taken. */
  readonly sealingKey?: AgentEnvironment["sealingKey"];
}

/** Registers the actors of agents with `actors`, so before that starts. */
export function createAgents(layers: AgentLayers): Agents {
  const { actors, sealingKey = () => undefined, ...rest } = layers;
  const limiter = new CallLimiter(layers.environment);
  const agentEnvironment: AgentEnvironment = { ...rest, sealingKey, limiter, feeds: new RunFeeds(), work: new RunWork() };
  actors.register(conversationActorDefinition(agentEnvironment));
  const conversations = new ConversationService(agentEnvironment, actors);
  return {
    conversations,
    directory: new AgentDirectory(agentEnvironment, conversations),
    feeds: agentEnvironment.feeds,
    stop: () => agentEnvironment.work.stop(layers.environment, stopMillisecondsMax),
  };
}
