import { z } from "@hono/zod-openapi";
import type { PassageCreate } from "../../memory/passage.ts";
import { jsonObject, nameText, optional, time } from "./common.ts";

export const createPassageSchema: z.ZodType<PassageCreate> = z
  .object({ text: z.string(), tags: optional(z.array(nameText)), metadata: optional(jsonObject), created_at: optional(time) })
  .openapi("PassageCreateRequest");
