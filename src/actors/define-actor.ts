/**
 * Actors of named methods: the short way to write one, and a typed way to call it.
 *
 * A message is `{ method, body }`, in the process as over HTTP.
 */
import {
  type Activation,
  type Actor,
  ActorMessageError,
  type Actors,
  type ActorType,
  type InvokeOptions,
  type Reminder,
  type Turn,
} from "./actor.ts";
import { validateActorType } from "./actor-id.ts";

export interface MethodMessage {
  readonly method: string;
  readonly body: unknown;
}

// `never` is the body that every function accepts as its parameter's type.
type Method = (turn: Turn, body: never, activation: Activation) => Promise<unknown>;
type Methods = { readonly [name: string]: Method };

/** Anything with the `parse` of a zod schema: gives the valid value, or throws. */
export interface Schema<T> {
  parse(value: unknown): T;
}

export interface ActorDefinition<M extends Methods> extends ActorType<MethodMessage, unknown> {
  readonly methods: M;
  /** @throws {ActorMessageError} There is no such method, or its schema refuses the body. */
  parse(method: string, body: unknown): MethodMessage;
}

/** The body of a method as its parameters: none are needed for a method that takes none. */
type BodyOf<M extends Method> =
  Parameters<M> extends readonly [Turn, infer Body, ...unknown[]]
    ? undefined extends Body
      ? [body?: Body]
      : [body: Body]
    : [body?: undefined];

/** Calls the methods of one actor. */
export type ActorClient<M extends Methods> = {
  readonly [K in keyof M]: (...parameters: [...BodyOf<M[K]>, options?: InvokeOptions]) => ReturnType<M[K]>;
};

export const defaultProject = "default";

/**
 * Defines a kind of actor by its methods. Each runs as a turn: what it writes to `turn.state` is durable before its
 * reply, all or nothing.
 *
 * `schemas` check the bodies of calls, in the process and over HTTP; a method without a schema gets what was sent.
 *
 * @throws {ActorMessageError} The type's name is not valid.
 */
export function defineActor<M extends Methods>(definition: {
  readonly type: string;
  readonly methods: M;
  readonly schemas?: {
    readonly [K in keyof M]?: Parameters<M[K]> extends readonly [Turn, infer Body, ...unknown[]] ? Schema<Body> : never;
  };
  readonly remind?: (turn: Turn, reminder: Reminder, activation: Activation) => Promise<void>;
}): ActorDefinition<M> {
  const { type, methods, remind } = definition;
  const schemas: { readonly [name: string]: Schema<unknown> | undefined } = definition.schemas ?? {};
  validateActorType(type);
  return {
    type,
    methods,
    create: (activation): Actor<MethodMessage, unknown> => ({
      receive: async ({ method, body }, turn) => {
        if (!Object.hasOwn(methods, method)) throw unknownMethod(type, methods, method);
        // The body was checked by `parse`, which every call of this module and of the server goes through.
        return await methods[method]!(turn, body as never, activation);
      },
      ...(remind === undefined ? {} : { remind: async (reminder, turn) => await remind(turn, reminder, activation) }),
    }),
    parse: (method, body): MethodMessage => {
      if (!Object.hasOwn(methods, method)) throw unknownMethod(type, methods, method);
      const schema = Object.hasOwn(schemas, method) ? schemas[method] : undefined;
      if (schema === undefined) return { method, body };
      try {
        return { method, body: schema.parse(body) };
      } catch (error) {
        throw new ActorMessageError(
          `The body of ${type}.${method} is not valid: ${error instanceof Error ? error.message : String(error)}`,
          { cause: error },
        );
      }
    },
  };
}

/** The actor called `key`, to be called by its methods: `actorOf(actors, Counter, "visits").increment({ by: 2 })`. */
export function actorOf<M extends Methods>(
  actors: Actors,
  definition: ActorDefinition<M>,
  key: string,
  options: { readonly project?: string } = {},
): ActorClient<M> {
  const id = { project: options.project ?? defaultProject, type: definition.type, key };
  const call =
    (method: string) =>
    async (body: unknown, invokeOptions?: InvokeOptions): Promise<unknown> =>
      await actors.invoke(id, definition.parse(method, body), invokeOptions);
  const client: object = Object.fromEntries(Object.keys(definition.methods).map((method) => [method, call(method)]));
  return client as ActorClient<M>;
}

/** Sends to the methods of one actor: each takes the method's body, and gives nothing back. */
export type ActorSender<M extends Methods> = { readonly [K in keyof M]: (...parameters: BodyOf<M[K]>) => void };

/**
 * Sends messages to the actor called `key` as a part of `turn` (see `Turn.send`): `sendTo(turn, Counter, "visits").increment({ by: 2 })`.
 * Its project has to be that of the sender.
 */
export function sendTo<M extends Methods>(
  turn: Turn,
  definition: ActorDefinition<M>,
  key: string,
  options: { readonly project?: string } = {},
): ActorSender<M> {
  const id = { project: options.project ?? defaultProject, type: definition.type, key };
  const send =
    (method: string) =>
    (body: unknown): void =>
      turn.send(id, definition.parse(method, body));
  const sender: object = Object.fromEntries(Object.keys(definition.methods).map((method) => [method, send(method)]));
  return sender as ActorSender<M>;
}

function unknownMethod(type: string, methods: Methods, method: string): ActorMessageError {
  return new ActorMessageError(
    `Actors of type ${type} have no method ${JSON.stringify(method.slice(0, 100))}; they have ${Object.keys(methods).join(", ")}`,
  );
}
