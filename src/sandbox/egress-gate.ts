/** One sandbox's part of the egress proxy: its policy, its connections, what it has used, what it was refused. */
import type { Server, Socket } from "node:net";
import type { Environment } from "../environment/environment.ts";
import { checkPolicy, hostMatches, type HostRule, networkLimits, type NetworkPolicy } from "./network-policy.ts";

const refusalsKept = 100;
const targetCharactersMax = 200;

/** What the sandbox is told; the status is HTTP's. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface RefusedRequest {
  /** Unix milliseconds. */
  readonly time: number;
  readonly method: string;
  /** As asked for, shortened. */
  readonly target: string;
  readonly reason: string;
}

export class EgressGate {
  readonly #environment: Environment;
  readonly #listener: Server;
  readonly #sandboxId: string;
  readonly #clients = new Set<Socket>();
  /** Connections to hosts, and where to. */
  readonly #upstreams = new Map<Socket, Target>();
  readonly #refusals: RefusedRequest[] = [];
  #policy: NetworkPolicy;
  #bytes = 0;
  #refusedCount = 0;

  constructor(environment: Environment, listener: Server, { id, policy }: { readonly id: string; readonly policy: NetworkPolicy }) {
    this.#environment = environment;
    this.#listener = listener;
    this.#sandboxId = id;
    this.#policy = policy;
  }

  /** Of contents, in both directions. */
  get bytes(): number {
    return this.#bytes;
  }

  get refusedCount(): number {
    return this.#refusedCount;
  }

  /** The last of them. */
  get refusals(): readonly RefusedRequest[] {
    return this.#refusals;
  }

  /** @throws {SandboxInputError} The policy cannot be; the old one stays. */
  setPolicy(policy: NetworkPolicy): void {
    checkPolicy(policy);
    this.#policy = policy;
    for (const [upstream, target] of this.#upstreams) if (this.#ruleOf(target) === undefined) upstream.destroy();
  }

  async close(): Promise<void> {
    for (const socket of [...this.#clients, ...this.#upstreams.keys()]) socket.destroy();
    await new Promise((resolve) => this.#listener.close(resolve));
  }

  /** Whether a new connection of the sandbox is served; if not, it is closed. */
  admit(client: Socket): boolean {
    if (this.#clients.size >= (this.#policy.connectionsMax ?? networkLimits.connections)) {
      this.refused(new Refusal(503, "too many connections are open"), { method: "connection", target: "" });
      client.destroy();
      return false;
    }
    this.#clients.add(client);
    client.once("close", () => this.#clients.delete(client));
    return true;
  }

  /** Cuts a connection to a host when the client goes, or the policy. False if the client has gone already. */
  follow(client: Socket, upstream: Socket, target: Target): boolean {
    // The policy may have changed while it was being made.
    if (client.destroyed || this.#ruleOf(target) === undefined) {
      upstream.destroy();
      client.destroy();
      return false;
    }
    this.#upstreams.set(upstream, target);
    upstream.once("close", () => this.#upstreams.delete(upstream));
    client.once("close", () => upstream.destroy());
    return true;
  }

  count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#bytesMax) return;
    for (const socket of [...this.#clients, ...this.#upstreams.keys()]) socket.destroy();
  }

  /** @throws {Refusal} */
  ruleFor(target: Target): HostRule {
    this.#checkBytes();
    const rule = this.#ruleOf(target);
    if (rule === undefined) throw new Refusal(403, `the policy of this sandbox does not allow ${target.host}:${target.port}`);
    return rule;
  }

  /**
   * The rule for a plain request, and the port it goes to: one that names none goes to 443 if the rule upgrades it.
   *
   * @throws {Refusal}
   */
  requestRule({ host, port }: { readonly host: string; readonly port: number | undefined }): {
    readonly rule: HostRule;
    readonly port: number;
  } {
    this.#checkBytes();
    for (const rule of this.#policy.allow) {
      const wanted = port ?? (rule.upgrade === true ? 443 : 80);
      if (hostMatches(rule.host, host) && portsOf(rule).includes(wanted)) return { rule, port: wanted };
    }
    throw new Refusal(403, `the policy of this sandbox does not allow ${host}:${port ?? 80}`);
  }

  isUpgraded(host: string): boolean {
    return this.#ruleOf({ host, port: 443 })?.upgrade === true;
  }

  /**
   * Headers, names and values in turn, with placeholders replaced (E3).
   *
   * @throws {Refusal} One is on its way to where its secret must not go.
   */
  insertSecrets(headers: readonly string[], { host, isSafe }: { readonly host: string; readonly isSafe: boolean }): readonly string[] {
    const { secrets = [] } = this.#policy;
    return headers.map((text, index) => {
      let result = text;
      for (const { placeholder, value, hosts } of secrets) {
        if (!text.includes(placeholder)) continue;
        if (!hosts.some((pattern) => hostMatches(pattern, host))) throw new Refusal(403, `the secret of ${placeholder} is not for ${host}`);
        if (!isSafe) throw new Refusal(403, `the secret of ${placeholder} goes to ${host} over TLS only: its rule must upgrade`);
        if (index % 2 === 1) result = result.replaceAll(placeholder, () => value);
      }
      return result;
    });
  }

  /** Keeps and logs what was refused or failed; returns what the sandbox is told. */
  refused(error: unknown, request: { readonly method: string; readonly target: string }): Refusal {
    const refusal = error instanceof Refusal ? error : new Refusal(502, "the connection broke off");
    const entry = {
      time: this.#environment.clock.now(),
      method: request.method,
      target: request.target.slice(0, targetCharactersMax),
      reason: refusal.message,
    };
    this.#refusedCount++;
    this.#refusals.push(entry);
    if (this.#refusals.length > refusalsKept) this.#refusals.shift();
    // Code that is refused may ask for ever; the log need not hear of all of it.
    if (this.#refusedCount <= refusalsKept) {
      const { method, target, reason } = entry;
      this.#environment.log.write("warn", "The egress proxy refused a request", { sandbox: this.#sandboxId, method, target, reason });
    }
    return new Refusal(refusal.status, `Kelpie's egress proxy: ${refusal.message}`);
  }

  get #bytesMax(): number {
    return this.#policy.bytesMax ?? networkLimits.bytes;
  }

  #checkBytes(): void {
    if (this.#bytes > this.#bytesMax) throw new Refusal(403, `this sandbox has used up its ${this.#bytesMax} bytes`);
  }

  #ruleOf({ host, port }: Target): HostRule | undefined {
    return this.#policy.allow.find((rule) => hostMatches(rule.host, host) && portsOf(rule).includes(port));
  }
}

function portsOf(rule: HostRule): readonly number[] {
  return rule.ports ?? [80, 443];
}
