/**
 * The world outside that tools act upon: it survives crashes and counts.
 *
 * E1. An effect happens in one event, when the call arrives, whether or not its caller still lives.
 * E2. A call of an `idempotent` tool with an effect id that was seen before does nothing more.
 */
import type { OutsideTool, ToolResult } from "../src/tools/tool.ts";
import type { Kernel } from "./kernel.ts";
import { type Incarnation, never } from "./process.ts";
import type { RandomStream } from "./random.ts";

export interface OutsideFaults {
  /** The effect happens and its answer is lost: the caller waits for its time limit. */
  readonly answerLost: number;
  /** The tool says that it failed; nothing happened. */
  readonly failed: number;
}

export const noOutsideFaults: OutsideFaults = { answerLost: 0, failed: 0 };

export interface EffectRecord {
  readonly effectId: string;
  readonly tool: string;
  /** Calls that arrived. */
  calls: number;
  /** Times that it took effect. */
  effects: number;
}

export class OutsideWorld {
  /** Every effect that was ever asked for, by tool and effect id. */
  readonly records: Map<string, EffectRecord> = new Map();
  /** Calls that have left and have not arrived, by effect id. */
  readonly #underWay = new Map<string, number>();
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** The tools as the processes of one incarnation call them: one of each effect class. */
  tools(
    incarnation: Incarnation,
    random: RandomStream,
    options: {
      readonly faults: OutsideFaults;
      readonly latencyMilliseconds: number;
      readonly faultsUntil?: number;
      /** Asked about each fault that was drawn: whether it happens. By default all do. */
      readonly happens?: (kind: string) => boolean;
    },
  ): OutsideTool[] {
    const classes = ["readOnly", "idempotent", "once"] as const;
    return classes.map((effect) => ({
      name: `outside_${effect}`,
      description: `Acts upon the simulated world; its effect class is ${effect}`,
      parameters: { type: "object", properties: { amount: { type: "integer" } }, required: ["amount"] },
      effect,
      execute: async (input, context) => {
        if (!incarnation.cross("effect")) return await never();
        const hasFaults = this.#kernel.now < (options.faultsUntil ?? Infinity);
        const happens = (kind: keyof OutsideFaults): boolean =>
          random.chance(options.faults[kind]) && hasFaults && (options.happens?.(`tool ${kind}`) ?? true);
        const [failed, answerLost] = [happens("failed"), happens("answerLost")];
        const [there, back] = [random.fraction() * options.latencyMilliseconds, random.fraction() * options.latencyMilliseconds];
        return await new Promise<ToolResult>((resolve, reject) => {
          context.signal.addEventListener("abort", () => reject(context.signal.reason as Error), { once: true });
          const { effectId } = context;
          this.#underWay.set(effectId, this.underWay(effectId) + 1);
          this.#kernel.schedule(there, { kind: "effect", details: `${incarnation.label} ${effect} ${effectId}` }, () => {
            this.#underWay.set(effectId, this.underWay(effectId) - 1);
            if (!failed) this.#happen(effectId, effect);
            if (answerLost) return;
            const result: ToolResult = failed
              ? { status: "error", text: "The simulated world said no" }
              : { status: "success", text: `did ${JSON.stringify(input)}` };
            this.#kernel.schedule(back, { kind: "effect.answer", owner: incarnation, details: effectId }, () => {
              if (incarnation.cross("effect.answer")) resolve(result);
            });
          });
        });
      },
    }));
  }

  /** How many calls with this effect id have left and may still take effect. */
  underWay(effectId: string): number {
    return this.#underWay.get(effectId) ?? 0;
  }

  #happen(effectId: string, effect: OutsideTool["effect"]): void {
    const tool = `outside_${effect}`;
    const key = `${tool} ${effectId}`;
    let record = this.records.get(key);
    if (record === undefined) this.records.set(key, (record = { effectId, tool, calls: 0, effects: 0 }));
    record.calls++;
    if (effect === "once" || (effect === "idempotent" && record.effects === 0)) record.effects++;
  }
}
