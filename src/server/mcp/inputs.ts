/** Inputs that several tools take. */
import { z } from "@hono/zod-openapi";

export const agentInput: z.ZodString = z.string().min(1).max(500).describe("The agent's id, or its exact name");
