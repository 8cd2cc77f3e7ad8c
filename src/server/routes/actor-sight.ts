import { z } from "@hono/zod-openapi";
import type { ActorId } from "../../actors/actor.ts";
import { readActorRecord } from "../../actors/actor-record.ts";
import { conversationActorType } from "../../agents/conversation.ts";
import type { MemberState } from "../../cluster/cluster.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { idOf } from "../schemas/common.ts";
import type { Services } from "../services.ts";
import { actorShape } from "./actors.ts";

export interface ActorAnswer extends ActorId {
  readonly owner: {
    readonly node: string;
    readonly name: string | null;
    readonly state: MemberState | null;
    readonly answers: boolean;
  } | null;
  readonly last_owner: string;
  readonly moving_to: string | null;
  readonly epoch: number;
  readonly version: number;
  readonly schema: number;
  readonly committed_at: string | null;
  readonly in_memory: {
    readonly busy: boolean;
    readonly messages: number;
    readonly messages_max: number;
    readonly bytes: number;
    readonly bytes_max: number;
  } | null;
  readonly reminders: readonly { readonly name: string; readonly due: string }[];
  readonly inbox: number;
  readonly dead_letters: readonly {
    readonly sender: string;
    readonly sent_at: string;
    readonly died_at: string;
    readonly attempts: number;
    readonly error: string;
  }[];
}

const actorSchema: z.ZodType<ActorAnswer> = z
  .object({
    project: z.string(),
    type: z.string(),
    key: z.string(),
    owner: z
      .object({
        node: z.string(),
        name: z.string().nullable().describe("null: it is no member of a cluster"),
        state: z.enum(["joining", "up", "draining", "dead"]).nullable(),
        answers: z.boolean().describe("false: what it has in memory is not known"),
      })
      .nullable()
      .describe("The living node that has the actor; null: whoever is asked next takes it"),
    last_owner: z.string().describe("The node that committed last"),
    moving_to: z.string().nullable(),
    epoch: z.int().describe("Grows with each activation"),
    version: z.int().describe("Grows with each commit"),
    schema: z.int(),
    committed_at: z.iso.datetime().nullable().describe("When the last commit was made"),
    in_memory: z
      .object({ busy: z.boolean(), messages: z.int(), messages_max: z.int(), bytes: z.int(), bytes_max: z.int() })
      .nullable()
      .describe("What waits in its mailbox; null: it is not in memory"),
    reminders: z.array(z.object({ name: z.string(), due: z.iso.datetime() })).describe("The earliest first; at most 100"),
    inbox: z.int().describe("Messages of other actors that wait to be handled"),
    dead_letters: z
      .array(z.object({ sender: z.string(), sent_at: z.iso.datetime(), died_at: z.iso.datetime(), attempts: z.int(), error: z.string() }))
      .describe("Messages that were given up; at most 100"),
  })
  .openapi("Actor");

/** What is known of any actor, for operators. */
export function actorSightRoutes(services: Services): Endpoint[] {
  const tag = "operations";
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/actors/{type}/{key}",
        summary: "Shows where an actor is, and what waits for it",
        tag,
        params: z.object(actorShape),
        response: actorSchema,
      },
      async ({ params: { type, key }, project }) => await show(services, { project, type, key }),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/actors/{id}",
        summary: "Shows where a conversation's actor is; an agent's id stands for its own conversation",
        tag,
        params: z.object({ id: z.union([idOf("agent"), idOf("conv")]) }),
        response: actorSchema,
      },
      async ({ params: { id }, project }) => await show(services, { project, type: conversationActorType, key: id }),
    ),
  ];
}

/** @throws {HttpError} Nothing of such an actor was ever committed. */
async function show({ store, actors, cluster }: Services, id: ActorId): Promise<ActorAnswer> {
  const [record, sight] = await Promise.all([readActorRecord(store, id), actors.inspect(id)]);
  if (record === undefined) throw notFound("actor", `${id.type}/${id.key}`);
  const { header, reminders } = record;
  const member = cluster?.members.find(({ node }) => node === sight?.node);
  const live = sight?.live;
  return {
    ...id,
    owner:
      sight === undefined ? null : { node: sight.node, name: member?.name ?? null, state: member?.state ?? null, answers: sight.answers },
    last_owner: header.owner,
    moving_to: header.migrating?.to ?? null,
    epoch: header.epoch,
    version: header.ver,
    schema: header.schema,
    committed_at: header.at === undefined ? null : new Date(header.at).toISOString(),
    in_memory:
      live === undefined
        ? null
        : { busy: live.isBusy, messages: live.messages, messages_max: live.messagesMax, bytes: live.bytes, bytes_max: live.bytesMax },
    reminders: reminders.map(({ name, due }) => ({ name, due: new Date(due).toISOString() })),
    inbox: record.inbox,
    dead_letters: record.deadLetters.map(({ sender, at, died, failures, error }) => ({
      sender: `${sender.type}/${sender.key}`,
      sent_at: new Date(at).toISOString(),
      died_at: new Date(died).toISOString(),
      attempts: failures,
      error,
    })),
  };
}
