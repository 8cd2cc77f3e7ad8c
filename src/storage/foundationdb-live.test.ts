/** The contract on a real cluster, where there is one: hosted CI starts it (.github/workflows/foundationdb.yml). */
import { randomUUID } from "node:crypto";
import { after, describe } from "node:test";
import { prefixEnd } from "../base/bytes.ts";
import { encodeTuple } from "../base/tuple.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { openFoundationDb } from "./foundationdb-native.ts";
import { FoundationDbStore } from "./foundationdb-store.ts";
import { describeStoreContract } from "./store.contract.ts";
import type { Store } from "./store.ts";

const clusterFile = process.env["KELPIE_TEST_FDB_CLUSTER_FILE"];
const skip = clusterFile === undefined && "KELPIE_TEST_FDB_CLUSTER_FILE names no cluster: the store in FoundationDB met only its model";

describe("FoundationDbStore on a live cluster", { skip }, () => {
  const names = new Map<Store, string>();
  const open = async (name: string): Promise<Store> => {
    const client = await openFoundationDb(clusterFile!);
    const store = await FoundationDbStore.open(client, new RealEnvironment(), { name, waitMillisecondsMax: 300_000 });
    names.set(store, name);
    return store;
  };
  after(async () => {
    const client = await openFoundationDb(clusterFile!);
    for (const name of new Set(names.values())) {
      const prefix = encodeTuple([name]);
      const transaction = client.begin({ timeoutMilliseconds: 60_000 });
      transaction.clearRange(prefix, prefixEnd(prefix));
      await transaction.commit();
    }
    client.close();
  });
  describeStoreContract("FoundationDbStore", {
    open: () => open(`test ${randomUUID()}`),
    reopen: async (store) => {
      await store[Symbol.asyncDispose]();
      return await open(names.get(store)!);
    },
  });
});
