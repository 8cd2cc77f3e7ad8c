/** What bounds the actors of one node. Each has a default that suits a server. */
export interface ActorLimits {
  /** Messages that may wait for one actor. Its own turns may be as many again. */
  readonly mailboxMessages: number;
  /** Estimated bytes of the messages that may wait for one actor. */
  readonly mailboxBytes: number;
  /** Messages that other actors have sent to one actor and that wait in its inbox, about: several may be added at one time. */
  readonly inboxMessages: number;
  /** Activations in memory, beyond which the least recently used idle ones leave. Busy ones are never ended for it. */
  readonly liveMax: number;
  /** An activation that is idle for so long leaves memory. */
  readonly idleMilliseconds: number;
  /** Own rows that one activation keeps in memory after they were committed. */
  readonly cachedRows: number;
  readonly cachedBytes: number;
  /** How long a graceful stop waits for running turns and background work. */
  readonly stopMilliseconds: number;
  /** How long an actor that is to move has to bring what it does to a good point. */
  readonly moveMilliseconds: number;
  /** Reminders being delivered at one moment, and how many deliveries a second may begin. */
  readonly reminderDeliveries: number;
  readonly remindersPerSecond: number;
}

export const defaultActorLimits: ActorLimits = {
  mailboxMessages: 1_000,
  mailboxBytes: 16_000_000,
  inboxMessages: 10_000,
  liveMax: 100_000,
  idleMilliseconds: 300_000,
  cachedRows: 1_000,
  cachedBytes: 1_000_000,
  stopMilliseconds: 10_000,
  moveMilliseconds: 30_000,
  reminderDeliveries: 64,
  remindersPerSecond: 1_000,
};

export const timeoutMillisecondsDefault = 60_000;
export const timeoutMillisecondsMax = 86_400_000;
/** Times that a turn runs because its shared rows had changed, before it is given up. */
export const turnAttemptsMax = 16;
/** The largest reply that is kept for a repeat of its invocation. */
export const keptReplyBytesMax = 64_000;
/** A repeat is recognised for at least this long, and for at most twice as long. */
export const deduplicationMilliseconds = 900_000;
export const reminderPayloadBytesMax = 64_000;

/** Of a message that one actor sends to another, as JSON, and how many a turn may send. */
export const sentBytesMax = 64_000;
export const sentPerTurnMax = 1_000;
/** Turns that may throw over one such message before it becomes a dead letter. With the waits between them: two minutes. */
export const sentAttemptsMax = 8;
export const sentBackoffMillisecondsMin = 1_000;
export const sentBackoffMillisecondsMax = 60_000;

/** Room in a batch for the header and the deduplication rows that every batch carries. */
export const batchReserveBytes = 100_000;
/** A batch over this many bytes or turns is closed: the actor waits for the one before it. */
export const gatheredBytesMax = 1_000_000;
export const gatheredTurnsMax = 1_000;
