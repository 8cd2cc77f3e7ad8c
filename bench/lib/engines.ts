/** Redis and PostgreSQL as Debian installs them: started in a directory of the bench on a socket of its own, and stopped. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Engine extends AsyncDisposable {
  readonly version: string;
  /** Microseconds of CPU of all its processes so far; NaN where the system does not tell. */
  cpu(): number;
}

export interface RedisEngine extends Engine {
  readonly socketPath: string;
}

export interface PostgresEngine extends Engine {
  readonly socketDirectory: string;
  readonly user: string;
}

const startMillisecondsMax = 20_000;

/** Every write is on disk before its answer; no snapshots or rewrites in between. `undefined`: not installed. */
export async function startRedis(directory: string): Promise<RedisEngine | undefined> {
  const version = versionOf("redis-server", ["--version"], /v=([\d.]+)/);
  if (version === undefined) return undefined;
  mkdirSync(directory);
  const socketPath = join(directory, "redis.sock");
  const settings = {
    port: "0",
    unixsocket: socketPath,
    dir: directory,
    appendonly: "yes",
    appendfsync: "always",
    save: "",
    "auto-aof-rewrite-percentage": "0",
  };
  const child = spawn(
    "redis-server",
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    { stdio: "ignore" },
  );
  await untilConnects(child, socketPath);
  return { version, socketPath, cpu: () => cpuOf([child.pid!]), [Symbol.asyncDispose]: () => stop(child, "SIGTERM") };
}

/** With its default settings: `fsync` and `synchronous_commit` on. `undefined`: not installed. */
export async function startPostgres(directory: string): Promise<PostgresEngine | undefined> {
  const binaries = postgresBinaries();
  const version = binaries && versionOf(join(binaries, "postgres"), ["--version"], /([\d.]+)/);
  if (version === undefined) return undefined;
  mkdirSync(directory);
  // PostgreSQL refuses to run as root: its package's own user does it then.
  const user = process.getuid?.() === 0 ? { name: "postgres", uid: idOf("-u"), gid: idOf("-g") } : undefined;
  if (user !== undefined) chownSync(directory, user.uid, user.gid);
  const as = { cwd: directory, ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }) };
  const data = join(directory, "data");
  execFileSync(join(binaries!, "initdb"), ["--pgdata", data, "--auth", "trust", "--username", "bench", "--no-sync"], {
    ...as,
    stdio: "ignore",
  });
  const child = spawn(join(binaries!, "postgres"), ["-D", data, "-k", directory, "-c", "listen_addresses="], { ...as, stdio: "ignore" });
  await untilConnects(child, join(directory, ".s.PGSQL.5432"));
  // It takes connections before it takes statements.
  while (child.exitCode === null && spawnSync(join(binaries!, "pg_isready"), ["--host", directory]).status !== 0) await sleep(20);
  return {
    version,
    socketDirectory: directory,
    user: "bench",
    cpu: () => cpuOf([child.pid!, ...childrenOf(child.pid!)]),
    // "Fast": ends the connections that are left.
    [Symbol.asyncDispose]: () => stop(child, "SIGINT"),
  };
}

function versionOf(command: string, parameters: readonly string[], pattern: RegExp): string | undefined {
  try {
    return pattern.exec(execFileSync(command, parameters, { encoding: "utf8" }))?.[1];
  } catch {
    return undefined; // Not installed, which the report says.
  }
}

/** Debian keeps the programs of each version in a directory of its own, outside the path. */
function postgresBinaries(): string | undefined {
  const versions = "/usr/lib/postgresql";
  if (!existsSync(versions)) return undefined;
  const newest = readdirSync(versions).sort((a, b) => Number(b) - Number(a))[0];
  return newest === undefined ? undefined : join(versions, newest, "bin");
}

function idOf(flag: "-u" | "-g"): number {
  return Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
}

async function untilConnects(child: ChildProcess, socketPath: string): Promise<void> {
  const end = performance.now() + startMillisecondsMax;
  while (performance.now() < end && child.exitCode === null) {
    const isUp = await new Promise<boolean>((resolve) => {
      const socket = connect(socketPath, () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (isUp) return;
    await sleep(50);
  }
  child.kill("SIGKILL");
  throw new Error(`${child.spawnfile} did not open ${socketPath} within ${startMillisecondsMax} ms`);
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

/** Microseconds of CPU of these processes so far; NaN where the system does not tell. */
export function cpuOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid), 0) * microsecondsPerTick;
}

/** Linux counts the CPU of processes in hundredths of a second. */
const microsecondsPerTick = 10_000;

function ticksOf(pid: number): number {
  if (!existsSync("/proc")) return Number.NaN;
  const fields = statOf(pid);
  return fields === undefined ? 0 : Number(fields[11]) + Number(fields[12]);
}

function childrenOf(parent: number): number[] {
  if (!existsSync("/proc")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.[1] === String(parent));
}

/** The fields of `/proc/PID/stat` from the state on: what stands before may hold spaces. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // Gone meanwhile, or a system without /proc.
  }
}
