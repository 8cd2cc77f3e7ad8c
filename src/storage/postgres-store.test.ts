import { after, before, describe } from "node:test";
import { PostgresStore } from "./postgres-store.ts";
import { describeStoreContract } from "./store.contract.ts";
import { type Store } from "./store.ts";
import { PostgresServer, postgresMissing } from "./testing/postgres-server.ts";

describe("PostgresStore", { skip: postgresMissing ?? false }, () => {
  let server: PostgresServer;
  before(async () => void (server = await PostgresServer.start()));
  after(() => server[Symbol.asyncDispose]());

  let schemas = 0;
  const schemaOf = new Map<Store, string>();
  async function open(schema: string = `store_${++schemas}`): Promise<Store> {
    const store = await PostgresStore.open(server.address, { schema, watchMilliseconds: 5 });
    schemaOf.set(store, schema);
    return store;
  }

  describeStoreContract("PostgresStore", {
    open: () => open(),
    async reopen(store) {
      await store[Symbol.asyncDispose]();
      return await open(schemaOf.get(store)!);
    },
  });
});
