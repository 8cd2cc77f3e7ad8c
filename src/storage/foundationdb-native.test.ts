import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { clusterClock, FoundationDbCluster, noFoundationDbFaults } from "../../simulation/foundationdb-cluster.ts";
import { connectToModel } from "../../simulation/foundationdb-model.ts";
import { LiveKernel } from "../../simulation/live-kernel.ts";
import { KeyedRandom } from "../../simulation/random.ts";
import type { Environment } from "../environment/environment.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { FoundationDbError, type FoundationDbTransaction } from "./foundationdb-client.ts";
import {
  diagnoseFoundationDb,
  FoundationDbMissingError,
  type FoundationDbPackage,
  openFoundationDb,
  type PackageTransaction,
  whatIsMissing,
} from "./foundationdb-native.ts";
import { FoundationDbStore } from "./foundationdb-store.ts";
import { bytes, del, delRange, set, text } from "./store-harness.contract.ts";
import { StoreUnavailableError } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "kelpie-foundationdb-"));
const clusterFile = join(folder, "fdb.cluster");
writeFileSync(clusterFile, "test:test@127.0.0.1:4500");
after(() => rmSync(folder, { recursive: true }));

describe("What is missing for FoundationDB", () => {
  const noPackage = Object.assign(new Error("Cannot find package 'foundationdb'"), { code: "ERR_MODULE_NOT_FOUND" });
  const noLibrary = Object.assign(new Error("libfdb_c.so: cannot open shared object file: No such file or directory"), {
    code: "ERR_DLOPEN_FAILED",
  });
  const noBuild = new Error("No native build was found for platform=linux arch=arm64 runtime=node");
  for (const [error, platform, arch, expected] of [
    [noPackage, "linux", "x64", /First install foundationdb-clients_<version>-1_amd64\.deb.*; then, .*npm install foundationdb@2\.0\.1$/],
    [noLibrary, "linux", "x64", /package foundationdb is here.*libfdb_c\.so.*foundationdb-clients_<version>-1_amd64\.deb/],
    [noBuild, "linux", "arm64", /no native code for linux-arm64.*aarch64\.deb.*python3, make and g\+\+.*compiles it/],
    [noLibrary, "darwin", "arm64", /_arm64\.pkg.*DYLD_LIBRARY_PATH=\/usr\/local\/lib/],
    [noLibrary, "darwin", "x64", /_x86_64\.pkg/],
    [noPackage, "win32", "x64", /use Linux \(x64 or arm64\) or macOS: there is no client for win32-x64/],
    [new Error("wrong ELF class"), "linux", "x64", /cannot be loaded: wrong ELF class/],
    ["a text", "linux", "x64", /cannot be loaded: a text/],
  ] as const)
    test(`${String(error).slice(0, 40)} on ${platform}-${arch}`, () => assert.match(whatIsMissing(error, platform, arch), expected));

  test("a package that is not there is named, with what to do", async () => {
    const missing = "kelpie-has-no-such-package";
    await assert.rejects(
      openFoundationDb(clusterFile, () => import(missing)),
      (error) => {
        assert.ok(error instanceof FoundationDbMissingError);
        assert.match(error.message, /npm install foundationdb@2\.0\.1/);
        return true;
      },
    );
  });

  test("a cluster file that is not there is named before anything is loaded", async () => {
    const load = (): Promise<unknown> => Promise.reject(new Error("must not be loaded"));
    await assert.rejects(openFoundationDb(join(folder, "other.cluster"), load), /other\.cluster" cannot be read: copy/);
    assert.deepEqual((await diagnoseFoundationDb(join(folder, "other.cluster"), load)).state, "problem");
  });
});

/** What the package gives, made of the model: errors with a code of another class, buffers, versions in 8 bytes. */
function packageOver(cluster: FoundationDbCluster, environment: Environment): FoundationDbPackage & { readonly calls: string[] } {
  const calls: string[] = [];
  const theirs = async <T>(promise: Promise<T>): Promise<T> => {
    try {
      return await promise;
    } catch (error) {
      throw Object.assign(new Error("as the package says it"), { code: (error as FoundationDbError).code });
    }
  };
  const onlyBuffer = (value: Uint8Array): Uint8Array => {
    assert.ok(Buffer.isBuffer(value), "the package takes buffers");
    return value;
  };
  const wrap = (transaction: FoundationDbTransaction): PackageTransaction => ({
    getReadVersion: async () => {
      const version = Buffer.alloc(8);
      version.writeBigInt64BE(BigInt(await theirs(transaction.readVersion())));
      return version;
    },
    get: async (key) => {
      const value = await theirs(transaction.get(onlyBuffer(key)));
      return value === undefined ? undefined : Buffer.from(value);
    },
    async *getRangeBatch(begin, end, { limit, reverse, streamingMode }) {
      assert.equal(streamingMode, -2);
      const pages = transaction.getRange(onlyBuffer(begin), onlyBuffer(end), { limit, reverse })[Symbol.asyncIterator]();
      for (let page = await theirs(pages.next()); page.done !== true; page = await theirs(pages.next()))
        yield page.value.map(([key, value]): [Buffer, Buffer] => [Buffer.from(key), Buffer.from(value)]);
    },
    set: (key, value) => transaction.set(onlyBuffer(key), onlyBuffer(value)),
    clear: (key) => transaction.clear(onlyBuffer(key)),
    clearRange: (begin, end) => transaction.clearRange(onlyBuffer(begin), onlyBuffer(end)),
    addReadConflictKey: (key) => transaction.addReadConflictKey(onlyBuffer(key)),
    rawCommit: () => theirs(transaction.commit()),
    rawOnError: (code) => theirs(transaction.onError(new FoundationDbError(code))),
    watch: (key) => {
      const { changed, cancel } = transaction.watch(onlyBuffer(key));
      const promise = changed.then(
        () => true,
        () => false,
      );
      return { promise, cancel };
    },
  });
  return {
    calls,
    StreamingMode: { WantAll: -2 },
    setAPIVersion: (version) => void calls.push(`setAPIVersion ${version}`),
    open: (file) => {
      calls.push(`open ${file}`);
      const client = connectToModel(cluster, environment.clock);
      return {
        rawCreateTransaction: ({ timeout }) => wrap(client.begin({ timeoutMilliseconds: timeout })),
        close: () => void calls.push("close"),
      };
    },
  };
}

function model(faults: Partial<typeof noFoundationDbFaults> = {}): {
  readonly environment: Environment;
  readonly loaded: ReturnType<typeof packageOver>;
} {
  const kernel = new LiveKernel({ guardsGlobals: false });
  const clock = clusterClock(kernel);
  const random = new KeyedRandom(1).stream("cluster");
  const cluster = new FoundationDbCluster({
    clock,
    random,
    latencyMilliseconds: { lowest: 1, highest: 2 },
    faults: { ...noFoundationDbFaults, ...faults },
  });
  const { log } = new RealEnvironment({ write: () => {} });
  const environment: Environment = { clock, random, log, probe: () => {} };
  return { environment, loaded: packageOver(cluster, environment) };
}

describe("A store over the package's shape", () => {
  for (const [title, asModule] of [
    ["as a module of its own", (loaded: FoundationDbPackage): unknown => loaded],
    ["as the default of a module", (loaded: FoundationDbPackage): unknown => ({ default: loaded })],
  ] as const)
    test(`${title}: reads, writes, conflicts, ranges and watches`, async () => {
      const { environment, loaded } = model();
      const client = await openFoundationDb(clusterFile, async () => asModule(loaded));
      assert.deepEqual(loaded.calls, ["setAPIVersion 720", `open ${clusterFile}`]);
      const store = await FoundationDbStore.open(client, environment);
      const writes = ["a", "b", "c", "d"].map((key) => set(bytes(key), `value of ${key}`));
      const first = await store.commit({ id: "1", checks: [], writes: [...writes, { kind: "add", key: bytes("n"), amount: 7n }] });
      assert.ok(first.ok);
      assert.deepEqual(await store.commit({ id: "1", checks: [], writes }), first);
      const checks = [{ key: bytes("a"), version: first.version }];
      const raced = await Promise.all(["2", "3"].map((id) => store.commit({ id, checks, writes: [set(bytes("a"), id)] })));
      assert.deepEqual(
        raced.map(({ ok }) => ok),
        [true, false],
      );
      await store.commit({ id: "4", checks: [], writes: [del(bytes("b")), delRange(bytes("c"), bytes("d"))] });
      const [range, reverse, one, none] = await store.read([
        { begin: bytes("a"), end: bytes("z"), limit: 10 },
        { begin: bytes("a"), end: bytes("z"), limit: 2, reverse: true },
        { key: bytes("d") },
        { key: bytes("b") },
      ]);
      assert.deepEqual(
        range!.map(({ key }) => text(key)),
        ["a", "d", "n"],
      );
      assert.deepEqual(
        reverse!.map(({ key }) => text(key)),
        ["n", "d"],
      );
      assert.deepEqual([one!.map(({ value }) => text(value)), none], [["value of d"], []]);
      const end = new AbortController();
      const hints = store.watch([bytes("a")], end.signal)[Symbol.asyncIterator]();
      await hints.next();
      const hint = hints.next();
      await store.commit({ id: "5", checks: [], writes: [set(bytes("a"), "5")] });
      assert.equal((await hint).done, false);
      end.abort();
      await store[Symbol.asyncDispose]();
      assert.equal(loaded.calls.at(-1), "close");
    });

  test("errors of the package are tried again, and told by their number in the end", async () => {
    const { environment, loaded } = model({ readFails: 0.2, unknownApplied: 0.3 });
    const store = await FoundationDbStore.open(await openFoundationDb(clusterFile, async () => loaded), environment);
    for (let round = 0; round < 50; round++)
      await store.commit({ id: `${round}`, checks: [], writes: [{ kind: "add", key: bytes("n"), amount: 1n }] });
    assert.equal((await store.read([{ key: bytes("n") }]))[0]![0]!.value[0], 50);
    const broken = model({ readFails: 1 });
    const client = await openFoundationDb(clusterFile, async () => broken.loaded);
    await assert.rejects(FoundationDbStore.open(client, broken.environment), (error) => {
      assert.ok(error instanceof StoreUnavailableError && error.cause instanceof FoundationDbError);
      assert.match(error.message, /as the package says it \(FoundationDB's error \d+\)/);
      return true;
    });
    assert.equal(broken.loaded.calls.at(-1), "close");
  });

  test("the doctor says whether the cluster answers", async () => {
    const healthy = model();
    assert.deepEqual((await diagnoseFoundationDb(clusterFile, async () => healthy.loaded)).state, "ok");
    const ill = model({ readFails: 1 });
    const diagnosis = await diagnoseFoundationDb(clusterFile, async () => ill.loaded);
    assert.equal(diagnosis.state, "problem");
    assert.match(diagnosis.detail, /client is installed, and the cluster of .* does not answer/);
  });
});
