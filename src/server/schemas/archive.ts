import { z } from "@hono/zod-openapi";
import { anyObject, idOf, nullable } from "./common.ts";
import { embeddingConfigSchema } from "./model.ts";

/** Letta's Archive. */
export const archiveSchema: z.ZodType = z
  .object({
    id: idOf("archive"),
    name: z.string(),
    description: nullable(z.string()),
    vector_db_provider: z.enum(["native", "tpuf", "pinecone"]),
    embedding_config: nullable(embeddingConfigSchema),
    metadata: nullable(anyObject),
    created_at: z.string(),
    updated_at: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
  })
  .openapi("Archive");

/** Letta's Passage. */
export const passageSchema: z.ZodType = z
  .object({
    id: idOf("passage"),
    text: z.string(),
    embedding: nullable(z.array(z.number())),
    embedding_config: nullable(embeddingConfigSchema),
    archive_id: nullable(z.string()),
    source_id: nullable(z.string()),
    file_id: nullable(z.string()),
    file_name: nullable(z.string()),
    metadata: nullable(anyObject),
    tags: nullable(z.array(z.string())),
    is_deleted: z.boolean(),
    created_at: nullable(z.string()),
    updated_at: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
  })
  .openapi("Passage");

export const passageSearchSchema: z.ZodType = z.array(
  z.object({ passage: passageSchema, score: z.number(), metadata: anyObject }).openapi("PassageSearchResult"),
);

export const archivalSearchSchema: z.ZodType = z
  .object({
    results: z.array(z.object({ id: idOf("passage"), timestamp: z.string(), content: z.string(), tags: z.array(z.string()) })),
    count: z.int(),
  })
  .openapi("ArchivalMemorySearchResponse");
