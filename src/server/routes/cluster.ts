import { z } from "@hono/zod-openapi";
import type { Member } from "../../cluster/cluster.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import type { ClusterView, Services } from "../services.ts";

const versionsSchema = z.object({ min: z.int(), max: z.int() });

const memberSchema = z
  .object({
    node: z.string().describe("This incarnation: unique for ever"),
    name: z.string(),
    state: z.enum(["joining", "up", "draining", "dead"]),
    address: z.string().nullable().describe("Where it takes calls of other nodes"),
    capacity: z.number(),
    wire: versionsSchema.describe("The versions of messages between nodes that it speaks"),
    schema: versionsSchema.describe("The versions of actors that it can read"),
    joined_at: z.iso.datetime(),
  })
  .openapi("ClusterMember");

const storeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("sqlite"), machine: z.string(), host: z.string(), path: z.string() }),
  z.object({ kind: z.literal("postgres"), url: z.string().describe("Without its password") }),
]);

export interface ClusterAnswer {
  readonly node: string | null;
  readonly actors: number;
  readonly store: ClusterView["store"] | null;
  readonly members: readonly (Pick<Member, "node" | "name" | "state" | "address" | "capacity" | "wire" | "schema"> & {
    readonly joined_at: string;
  })[];
}

export const clusterSchema: z.ZodType<ClusterAnswer> = z
  .object({
    node: z.string().nullable().describe("The node that answers; null: it runs alone, and others cannot join it"),
    actors: z.int().describe("Actors in the memory of the node that answers"),
    store: storeSchema.nullable(),
    members: z.array(memberSchema),
  })
  .openapi("Cluster");

export function clusterRoutes({ cluster, actors }: Services): Endpoint[] {
  return [
    endpoint(
      { method: "get", path: "/v1/cluster", summary: "Shows the nodes of the cluster", tag: "health", response: clusterSchema },
      async (): Promise<ClusterAnswer> => ({
        node: cluster?.node ?? null,
        actors: actors.live,
        store: cluster?.store ?? null,
        members: (cluster?.members ?? []).map(({ node, name, state, address, capacity, wire, schema, joinedAt }) => ({
          node,
          name,
          state,
          address,
          capacity,
          wire,
          schema,
          joined_at: new Date(joinedAt).toISOString(),
        })),
      }),
    ),
  ];
}
