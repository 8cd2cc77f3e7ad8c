import { MemoryStore } from "./memory-store.ts";
import { describeStoreContract } from "./store.contract.ts";

describeStoreContract("MemoryStore", { open: async () => new MemoryStore() });
