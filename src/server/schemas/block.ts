import { z } from "@hono/zod-openapi";
import type { BlockCreate, BlockUpdate } from "../../memory/block.ts";
import { anyObject, idOf, jsonObject, nameText, nullable, optional } from "./common.ts";

/** Letta's BlockResponse. */
export const blockSchema: z.ZodType = z
  .object({
    id: idOf("block"),
    label: nullable(z.string()),
    value: z.string(),
    limit: z.int(),
    description: nullable(z.string()),
    read_only: z.boolean(),
    metadata: nullable(anyObject),
    hidden: nullable(z.boolean()),
    tags: z.array(z.string()),
    is_template: z.boolean(),
    template_name: nullable(z.string()),
    template_id: nullable(z.string()),
    base_template_id: nullable(z.string()),
    deployment_id: nullable(z.string()),
    entity_id: nullable(z.string()),
    preserve_on_migration: nullable(z.boolean()),
    project_id: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
    created_at: z.string(),
    updated_at: z.string(),
  })
  .openapi("BlockResponse");

const fields = {
  limit: optional(z.int().min(0)),
  description: optional(z.string()),
  read_only: optional(z.boolean()),
  metadata: optional(jsonObject),
  hidden: optional(z.boolean()),
  tags: optional(z.array(nameText)),
  is_template: optional(z.boolean()),
  template_name: optional(z.string()),
  template_id: optional(z.string()),
  base_template_id: optional(z.string()),
  deployment_id: optional(z.string()),
  entity_id: optional(z.string()),
  preserve_on_migration: optional(z.boolean()),
  project_id: optional(z.string()),
};

export const createBlockSchema: z.ZodType<BlockCreate> = z.object({ ...fields, label: nameText, value: z.string() }).openapi("CreateBlock");

export const updateBlockSchema: z.ZodType<BlockUpdate> = z
  .object({ ...fields, label: optional(nameText), value: optional(z.string()) })
  .openapi("BlockUpdate");
