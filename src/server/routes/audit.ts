import { z } from "@hono/zod-openapi";
import type { AuditEntry, AuditLog } from "../audit.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";

const entrySchema: z.ZodType<AuditEntry> = z
  .object({
    number: z.int().describe("Grows by one with each entry"),
    at: z.iso.datetime(),
    action: z.string().describe("Such as provider.update or node.drain"),
    target: z.string().nullable().describe("The id or the name of what it was done to"),
    outcome: z.enum(["begun", "done", "failed"]).describe("begun: it is under way, or nobody knows what became of it"),
    reason: z.string().nullable().describe("Why it failed"),
    key: z.string().nullable().describe("The first 8 digits of the SHA-256 of the key that was used"),
    address: z.string().nullable().describe("Where the request came from"),
    node: z.string().nullable().describe("The node that was asked"),
  })
  .openapi("AuditEntry");

const query = z.object({
  limit: z.int().min(1).max(1_000).default(50),
  before: z.int().min(1).optional().describe("Entries before that number"),
});

export function auditRoutes(audit: AuditLog): Endpoint[] {
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/audit",
        summary: "Lists what was changed of nodes, providers and tools, the newest first",
        tag: "operations",
        query,
        response: z.array(entrySchema),
      },
      async ({ query: page, project }) => await audit.list(project, page),
    ),
  ];
}
