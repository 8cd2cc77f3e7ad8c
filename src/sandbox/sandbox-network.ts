/**
 * The network of a sandbox: a namespace with nothing but its own loopback, shared by its commands, and in it, where a policy
 * allows something, one listening socket that is the egress proxy's.
 *
 * A socket stays in the namespace it was made in. So a short-lived child makes it there and hands it to this process: nothing
 * has to run inside the sandbox to reach the proxy, and no path of the host leads to it.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { assert } from "../base/assert.ts";
import type { BubblewrapHost } from "./bubblewrap-host.ts";
import type { SandboxNetwork } from "./bubblewrap-sandbox.ts";
import type { EgressProxy } from "./egress-proxy.ts";
import { firstProcess } from "./host-process.ts";
import type { NetworkPolicy } from "./network-policy.ts";
import { SandboxInputError, SandboxUnavailableError } from "./sandbox.ts";

const listenerProgram = join(import.meta.dirname, "egress-listener.ts");
export const proxyPort = 3128;
const errorCharactersMax = 4_096;

export interface JoinableNetwork extends SandboxNetwork {
  /** Words that run what is appended to them in the network. */
  readonly launcher: readonly string[];
}

export class SandboxNetworks {
  readonly #host: BubblewrapHost;
  readonly #proxy: EgressProxy;

  constructor(host: BubblewrapHost, proxy: EgressProxy) {
    this.#host = host;
    this.#proxy = proxy;
  }

  /** @throws {SandboxUnavailableError} */
  async create(id: string, policy: NetworkPolicy | undefined): Promise<JoinableNetwork> {
    const descriptors = await this.#makeNamespace();
    const path = (descriptor: number): string => `/proc/${process.pid}/fd/${descriptor}`;
    const { network, user } = descriptors;
    const asUser = user === undefined ? [] : [`--user=${path(user)}`, "--preserve-credentials"];
    const launcher = ["/usr/bin/nsenter", `--net=${path(network)}`, ...asUser, "--"];
    const close = (): void => {
      closeSync(network);
      if (user !== undefined) closeSync(user);
    };
    if (policy === undefined) return { launcher, environment: {}, setPolicy: refuseToOpen, close: () => Promise.resolve(close()) };
    try {
      const gate = this.#proxy.attach(await listenIn(launcher), { id, policy });
      return {
        launcher,
        environment: proxyEnvironment(),
        setPolicy: (next) => gate.setPolicy(next),
        close: async () => {
          await gate.close();
          close();
        },
      };
    } catch (error) {
      close();
      throw error;
    }
  }

  /** bubblewrap makes it and brings its loopback up; open descriptors keep it once nothing runs in it. */
  async #makeNamespace(): Promise<{ readonly network: number; readonly user: number | undefined }> {
    const { bwrap, mode } = this.#host;
    // Without a /dev of its own: for that bubblewrap would put a second user namespace around the command.
    const asUser = mode === "root" ? [] : ["--unshare-user", "--uid", "1000", "--gid", "1000"];
    const words = [...asUser, "--unshare-net", "--die-with-parent", "--info-fd", "3", "--dev-bind", "/", "/", "--", "/bin/cat"];
    const child = spawn(bwrap, words, { env: {}, cwd: "/", stdio: ["pipe", "pipe", "pipe", "pipe"] });
    let problems = "";
    child.stderr!.on("data", (bytes: Buffer) => (problems = (problems + bytes.toString()).slice(0, errorCharactersMax)));
    child.stdin!.on("error", () => undefined); // It ended; what it said tells why.
    const failed = new Promise<never>((_, reject) => {
      const fail = (why: string): void => reject(new SandboxUnavailableError(`Cannot make a network for a sandbox: ${why}`));
      child.once("error", ({ message }) => fail(message));
      child.once("close", () => fail(problems.trim() || "bubblewrap ended at once"));
    });
    failed.catch(() => undefined); // It ends some time.
    try {
      // An echo: the namespace is ready, as what it was made for runs.
      child.stdin!.write("\n");
      const first = firstProcess(child.stdio[3] as Readable);
      await Promise.race([new Promise((resolve) => child.stdout!.once("data", resolve)), failed]);
      const namespaces = `/proc/${(await Promise.race([first, failed])).pid}/ns`;
      const network = openSync(`${namespaces}/net`, "r");
      return { network, user: mode === "root" ? undefined : openSync(`${namespaces}/user`, "r") };
    } finally {
      child.kill("SIGKILL");
    }
  }
}

async function listenIn(launcher: readonly string[]): Promise<Server> {
  const [program, ...words] = launcher;
  assert(program !== undefined, "A launcher has a program");
  const child = spawn(program, [...words, process.execPath, listenerProgram, String(proxyPort)], {
    env: {},
    cwd: "/",
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let problems = "";
  child.stderr!.on("data", (bytes: Buffer) => (problems = (problems + bytes.toString()).slice(0, errorCharactersMax)));
  return await new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new SandboxUnavailableError(`Cannot listen in the network of a sandbox: ${why}`));
    child.once("message", (_message, server) => resolve(server as Server));
    child.once("error", ({ message }) => fail(message));
    child.once("close", () => fail(problems.trim() || "the listener ended at once"));
  });
}

/** The names that programs look for; Node's own fetch takes the proxy with the last. */
function proxyEnvironment(): Readonly<Record<string, string>> {
  const proxy = `http://127.0.0.1:${proxyPort}`;
  const direct = "localhost,127.0.0.1,::1";
  const names = { HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: direct };
  const lower = Object.fromEntries(Object.entries(names).map(([name, value]) => [name.toLowerCase(), value]));
  return { ...names, ...lower, NODE_USE_ENV_PROXY: "1" };
}

function refuseToOpen(): never {
  throw new SandboxInputError("Cannot change the network policy: the sandbox was made without a network");
}
