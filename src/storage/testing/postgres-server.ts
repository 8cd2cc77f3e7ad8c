/** Debian's PostgreSQL for tests: in a folder and on a port of its own, started and stopped by the test. Needs no service of the system. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const startMillisecondsMax = 30_000;

/** Why there is no server to test on, or `undefined` if there is. */
export const postgresMissing: string | undefined =
  binaries() === undefined ? "PostgreSQL is not installed (apt-get install postgresql)" : undefined;

export const pgbouncerMissing: string | undefined = existsSync("/usr/sbin/pgbouncer")
  ? undefined
  : "pgbouncer is not installed (apt-get install pgbouncer)";

/** How a server stops: at once, as after a crash of its machine but for what the system has in memory; or in order. */
export type StopMode = "immediate" | "fast";

export class PostgresServer implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly user: string = "kelpie";
  #process: ChildProcess | undefined;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
  }

  /** A new server with a database "kelpie", running, with `fsync` on. */
  static async start(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
    const directory = mkdtempSync(join(tmpdir(), "kelpie-postgres-"));
    giveToServerUser(directory);
    const server = new PostgresServer(directory, await freePort());
    run("initdb", ["--pgdata", server.#data, "--username", server.user, "--no-sync", "--no-locale", "--encoding", "UTF8"], directory);
    // By password for those who are to have one: to check it costs more time than most tests take.
    writeFileSync(
      join(server.#data, "pg_hba.conf"),
      "local all all trust\nhost all with_password all scram-sha-256\nhost all all 127.0.0.1/32 trust\n",
    );
    const all = {
      port: String(server.port),
      listen_addresses: "127.0.0.1",
      unix_socket_directories: directory,
      max_connections: "60",
      ...settings,
    };
    appendFileSync(
      join(server.#data, "postgresql.conf"),
      Object.entries(all)
        .map(([name, value]) => `${name} = '${value}'\n`)
        .join(""),
    );
    await server.resume();
    server.query("CREATE DATABASE kelpie", "postgres");
    server.query("CREATE ROLE with_password LOGIN SUPERUSER PASSWORD 'right'");
    return server;
  }

  /** Over a Unix socket, without a password. */
  get address(): string {
    return `postgres://${this.user}@localhost:${this.port}/kelpie?host=${encodeURIComponent(this.directory)}`;
  }

  /** Over TCP, without a password; or through something that listens on `port` of this host. */
  tcpAddress(port: number = this.port): string {
    return `postgres://${this.user}@127.0.0.1:${port}/kelpie`;
  }

  /** Over TCP, by the password "right". */
  passwordAddress(password: string, database: string = "kelpie"): string {
    return `postgres://with_password:${password}@127.0.0.1:${this.port}/${database}`;
  }

  /** Runs statements by `psql`, and returns what the last one gives: a line for a row, fields between `|`. */
  query(text: string, database: string = "kelpie"): string {
    const options = ["--host", this.directory, "--port", String(this.port), "--username", this.user, "--dbname", database];
    return run(
      "psql",
      [...options, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", text],
      this.directory,
    ).trim();
  }

  async stop(mode: StopMode): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(mode === "immediate" ? "SIGQUIT" : "SIGINT");
    await ended;
  }

  /** Starts it again after `stop`. */
  async resume(): Promise<void> {
    const child = spawn(join(binaries()!, "postgres"), ["-D", this.#data], { ...serverUser(), cwd: this.directory, stdio: "ignore" });
    this.#process = child;
    await untilAnswers(child, () => this.#isReady());
  }

  async restart(mode: StopMode): Promise<void> {
    await this.stop(mode);
    await this.resume();
  }

  /** While it is stopped: it comes up as a standby, which takes no writes until it is promoted. */
  makeStandby(): void {
    writeFileSync(join(this.#data, "standby.signal"), "");
    giveToServerUser(join(this.#data, "standby.signal"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("immediate");
    rmSync(this.directory, { recursive: true, force: true });
  }

  get #data(): string {
    return join(this.directory, "data");
  }

  #isReady(): boolean {
    const options = ["--host", this.directory, "--port", String(this.port), "--quiet"];
    return spawnSync(join(binaries()!, "pg_isready"), options, { cwd: this.directory }).status === 0;
  }
}

/** A transaction-pooling proxy in front of a server. */
export class Pgbouncer implements AsyncDisposable {
  readonly address: string;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(address: string, process: ChildProcess, directory: string) {
    this.address = address;
    this.#process = process;
    this.#directory = directory;
  }

  /** `connections`: to the server, for all clients together. */
  static async start(server: PostgresServer, connections: number): Promise<Pgbouncer> {
    const directory = mkdtempSync(join(tmpdir(), "kelpie-pgbouncer-"));
    giveToServerUser(directory);
    const port = await freePort();
    const settings = join(directory, "pgbouncer.ini");
    writeFileSync(
      settings,
      `[databases]
kelpie = host=${server.directory} port=${server.port} user=${server.user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${connections}
server_reset_query =
`,
    );
    const child = spawn("/usr/sbin/pgbouncer", ["--quiet", settings], { ...serverUser(), cwd: directory, stdio: "ignore" });
    await untilAnswers(child, () => canConnect(port));
    return new Pgbouncer(`postgres://${server.user}@127.0.0.1:${port}/kelpie`, child, directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGKILL");
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Debian keeps the programs of each version in a directory of its own, outside the path. */
function binaries(): string | undefined {
  const versions = "/usr/lib/postgresql";
  const found = existsSync(versions) ? readdirSync(versions).filter((version) => existsSync(join(versions, version, "bin", "initdb"))) : [];
  const newest = found.sort((left, right) => Number(right) - Number(left))[0];
  return newest === undefined ? undefined : join(versions, newest, "bin");
}

/** PostgreSQL refuses to run as root: the user that its package made does it then. */
function serverUser(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

function giveToServerUser(path: string): void {
  const { uid, gid } = serverUser();
  if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
}

function run(program: string, parameters: readonly string[], directory: string): string {
  const child = spawnSync(join(binaries()!, program), parameters, { ...serverUser(), cwd: directory, encoding: "utf8" });
  if (child.status !== 0) throw new Error(`${program} failed: ${child.error?.message ?? child.stderr}`);
  return child.stdout;
}

async function untilAnswers(child: ChildProcess, answers: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + startMillisecondsMax; performance.now() < end && child.exitCode === null; await sleep(20))
    if (await answers()) return;
  child.kill("SIGKILL");
  throw new Error(`${child.spawnfile} did not answer within ${startMillisecondsMax} ms, or ended (${child.exitCode})`);
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("The system gave no port");
  return address.port;
}
