import { MemoryStore } from "../src/storage/memory-store.ts";
import { describeStoreContract } from "../src/storage/store.contract.ts";
import { LiveKernel } from "./live-kernel.ts";
import { type Incarnation, SimulatedProcess } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { noStoreFaults, StoreTwin } from "./store-twin.ts";

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
    random,
    latencyMilliseconds,
    faults: noStoreFaults,
  });
}

describeStoreContract("StoreTwin without faults", { open });
