/** Numbers the events of a run and shows them: at once if they need not be durable, else after their batch is. */
import type { Activation } from "../actors/actor.ts";
import type { Environment } from "../environment/environment.ts";
import { eventWrites, type RunEvent, type RunFeed } from "./run-events.ts";
import { readJournal } from "./run-journal.ts";

/** The shortest time between two batches of token events of one run. */
const flushMillisecondsMin = 25;
/** A row of token events is written at the latest when it has this many. */
const flushEventsMax = 200;

export class RunEmitter {
  readonly #activation: Activation;
  readonly #environment: Environment;
  readonly #runId: string;
  readonly #feed: RunFeed;
  readonly #isDurable: boolean;
  #seq: number;
  #pending: RunEvent[] = [];
  #flushing: Promise<void> | undefined;
  /** Aborted to end the rest between two flushes early, and to start no further one. */
  #rest = new AbortController();

  constructor(options: {
    readonly activation: Activation;
    readonly environment: Environment;
    readonly runId: string;
    readonly feed: RunFeed;
    readonly isDurable: boolean;
    readonly seq: number;
  }) {
    this.#activation = options.activation;
    this.#environment = options.environment;
    this.#runId = options.runId;
    this.#feed = options.feed;
    this.#isDurable = options.isDurable;
    this.#seq = options.seq;
  }

  /** The number of the newest event. */
  get seq(): number {
    return this.#seq;
  }

  /** Shows a token event: live for a foreground run, soon for a background one. Gives its number. */
  emit(message: RunEvent["message"]): number {
    const event: RunEvent = { seq: ++this.#seq, message };
    if (!this.#isDurable) this.#feed.publish([event]);
    else {
      this.#pending.push(event);
      if (this.#flushing === undefined) this.#startFlushing();
    }
    return event.seq;
  }

  /** Token events that are not on their way to the store yet, for the batch that commits the step. */
  async take(): Promise<readonly RunEvent[]> {
    // With a reason, as making an exception with its trace costs more than a token.
    this.#rest.abort("The events are taken");
    await this.#flushing;
    this.#rest = new AbortController();
    return this.#pending.splice(0);
  }

  /** Shows events that a commit has made durable, the last of them the newest of the run. */
  committed(events: readonly RunEvent[]): void {
    const news = events.filter((event) => this.#isDurable || event.seq > this.#seq || event.last === true);
    this.#seq = Math.max(this.#seq, ...events.map((event) => event.seq));
    this.#feed.publish(news);
    if (this.#isDurable) this.#feed.settle(this.#seq);
  }

  #startFlushing(): void {
    this.#flushing = this.#flush().finally(() => {
      this.#flushing = undefined;
      if (this.#pending.length > 0 && !this.#rest.signal.aborted && !this.#activation.signal.aborted) this.#startFlushing();
    });
  }

  /** Never rejects: events that could not be written wait for the next flush, or for the batch that commits the step. */
  async #flush(): Promise<void> {
    const startedAt = this.#environment.clock.elapsed();
    const events = this.#pending.splice(0, flushEventsMax);
    try {
      const isActive = await this.#activation.turn(async (turn) => {
        // A turn before this one may have ended the run: nothing comes after its last event.
        if ((await readJournal(turn))?.run.id !== this.#runId) return false;
        turn.write(...eventWrites(this.#activation.id.project, this.#runId, events));
        return true;
      });
      if (!isActive) return;
      this.#feed.publish(events);
      this.#feed.settle(events.at(-1)!.seq);
    } catch (error) {
      // Nothing of the turn was written, or its activation has ended, and the driver hears of that itself.
      this.#environment.log.write("warn", "Events of a run could not be written yet", { run: this.#runId, error });
      this.#pending.unshift(...events);
    }
    // Under load commits take longer, and the batches grow instead of their number.
    const took = this.#environment.clock.elapsed() - startedAt;
    await this.#environment.clock.sleep(Math.max(flushMillisecondsMin, 2 * took), this.#rest.signal);
  }
}
