import type { Cancel } from "../src/environment/environment.ts";
import { MemoryStore } from "../src/storage/memory-store.ts";
import { describeStoreContract } from "../src/storage/store.contract.ts";
import { type EventOptions, Kernel } from "./kernel.ts";
import { type Incarnation, SimulatedProcess } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { noStoreFaults, StoreTwin } from "./store-twin.ts";

/** A kernel that runs whenever there is something to do, for code that lives in real time: the contract suite. */
class LiveKernel extends Kernel {
  #isRunning = false;

  override schedule(milliseconds: number, options: EventOptions, run: () => void): Cancel {
    const cancel = super.schedule(milliseconds, options, run);
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.run().finally(() => (this.#isRunning = false));
    }
    return cancel;
  }
}

async function open(): Promise<StoreTwin> {
  const kernel = new LiveKernel({ guardsGlobals: false });
  const random = new KeyedRandom(1);
  const started = Promise.withResolvers<Incarnation>();
  new SimulatedProcess(kernel, { name: "p", random, boot: started.resolve }).start();
  const incarnation = await started.promise;
  const latencyMilliseconds = { lowest: 0.1, highest: 20 };
  return new StoreTwin({
    kernel,
    disk: new MemoryStore(),
    incarnation,
    random: random.stream("store"),
    latencyMilliseconds,
    faults: noStoreFaults,
  });
}

describeStoreContract("StoreTwin without faults", { open });
