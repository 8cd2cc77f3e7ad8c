import { z } from "@hono/zod-openapi";
import type { Member } from "../../cluster/cluster.ts";
import type { NodeStatus } from "../../cluster/node-operations.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { conflict, notFound } from "../http-error.ts";
import type { ClusterView, Services } from "../services.ts";

const versionsSchema = z.object({ min: z.int(), max: z.int() });

const memberSchema = z
  .object({
    node: z.string().describe("This incarnation: unique for ever"),
    name: z.string(),
    state: z.enum(["joining", "up", "draining", "dead"]),
    actors: z.int().nullable().describe("In its memory; null: it did not say so within a second"),
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
  z.object({ kind: z.literal("foundationdb"), clusterFile: z.string() }),
]);

export interface MemberAnswer extends Pick<Member, "node" | "name" | "state" | "address" | "capacity" | "wire" | "schema"> {
  readonly actors: number | null;
  readonly joined_at: string;
}

export interface ClusterAnswer {
  readonly node: string | null;
  readonly actors: number;
  readonly store: ClusterView["store"] | null;
  readonly members: readonly MemberAnswer[];
}

export const clusterSchema: z.ZodType<ClusterAnswer> = z
  .object({
    node: z.string().nullable().describe("The node that answers; null: it runs alone, and others cannot join it"),
    actors: z.int().describe("Actors in the memory of the node that answers"),
    store: storeSchema.nullable(),
    members: z.array(memberSchema),
  })
  .openapi("Cluster");

const params = z.object({ node: z.string().min(1).max(200).describe("Its name, or its full name with this incarnation") });

export function clusterRoutes({ cluster, actors }: Services): Endpoint[] {
  const tag = "operations";

  /** @throws {HttpError} There is no such node. */
  function memberCalled(name: string): { readonly view: ClusterView; readonly member: Member } {
    const member = cluster?.members.find((each) => each.name === name || each.node === name);
    if (cluster === undefined || member === undefined) throw notFound("node", name);
    return { view: cluster, member };
  }

  return [
    endpoint(
      { method: "get", path: "/v1/cluster", summary: "Shows the nodes of the cluster", tag: "health", response: clusterSchema },
      async (): Promise<ClusterAnswer> => ({
        node: cluster?.node ?? null,
        actors: actors.live,
        store: cluster?.store ?? null,
        members: await Promise.all((cluster?.members ?? []).map((member) => describe(cluster!, member))),
      }),
    ),
    endpoint(
      { method: "get", path: "/v1/cluster/nodes/{node}", summary: "Shows a node of the cluster", tag, params, response: memberSchema },
      async ({ params: { node } }) => {
        const { view, member } = memberCalled(node);
        return memberAnswer(member, await view.operations.status(member));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/cluster/nodes/{node}/drain",
        summary: "Lets a node give its agents to the others; it goes on to answer",
        tag,
        params,
        response: memberSchema,
        audit: "node.drain",
      },
      async ({ params: { node } }) => {
        if (cluster === undefined) throw conflict("This Kelpie runs alone: there is no node to take its agents");
        const { view, member } = memberCalled(node);
        const refusal = await view.operations.drain(member);
        if (refusal !== undefined) throw conflict(`Cannot drain ${member.name}: ${refusal}`);
        return memberAnswer(member, await view.operations.status(member));
      },
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/cluster/nodes/{node}/drain",
        summary: "Lets a node that was drained take part again",
        tag,
        params,
        response: memberSchema,
        audit: "node.undo-drain",
      },
      async ({ params: { node } }) => {
        const { view, member } = memberCalled(node);
        const refusal = await view.operations.undoDrain(member);
        if (refusal !== undefined) throw conflict(`Cannot undo the drain of ${member.name}: ${refusal}`);
        return memberAnswer(member, await view.operations.status(member));
      },
    ),
  ];
}

async function describe({ operations }: ClusterView, member: Member): Promise<MemberAnswer> {
  // A node that does not answer is still a member, for as long as its lease lives.
  return memberAnswer(member, await operations.status(member).catch(() => undefined));
}

function memberAnswer({ node, name, state, address, capacity, wire, schema, joinedAt }: Member, status?: NodeStatus): MemberAnswer {
  return {
    node,
    name,
    state: status?.state ?? state,
    actors: status?.actors ?? null,
    address,
    capacity,
    wire,
    schema,
    joined_at: new Date(joinedAt).toISOString(),
  };
}
