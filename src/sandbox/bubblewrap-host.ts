/** What this host lets bubblewrap do, found by trying it once. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import type { BubblewrapMode } from "./bubblewrap-arguments.ts";
import { type CgroupParent, findCgroupParent } from "./cgroup.ts";

export interface BubblewrapHost {
  readonly bwrap: string;
  readonly version: string;
  readonly mode: BubblewrapMode;
  readonly cgroups: CgroupParent | { readonly problem: string };
}

const programs = ["/usr/bin/prlimit", "/usr/bin/env", "/usr/bin/nsenter", "/usr/bin/setpriv", "/usr/bin/du", "/bin/sh"];
/** CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN and CAP_SYS_ADMIN. */
const rootCapabilities = (1n << 6n) | (1n << 7n) | (1n << 12n) | (1n << 21n);
const versionMin = [0, 6] as const;

/** What is there, or why there is nothing, with what to do about it. */
export async function findBubblewrap(): Promise<BubblewrapHost | { readonly problem: string }> {
  if (process.platform !== "linux") return { problem: `bubblewrap is for Linux, and this is ${process.platform}` };
  if (process.arch !== "x64" && process.arch !== "arm64")
    return { problem: `the filter of system calls is for x64 and arm64, and this is ${process.arch}` };
  const bwrap = (process.env["PATH"] ?? "/usr/bin")
    .split(":")
    .map((folder) => `${folder}/bwrap`)
    .find((path) => path.startsWith("/") && existsSync(path));
  if (bwrap === undefined) return { problem: "bwrap is not on the PATH: install the package bubblewrap" };
  const missing = programs.filter((path) => !existsSync(path));
  if (missing.length > 0) return { problem: `${missing.join(", ")} is not there: install the packages util-linux and coreutils` };
  const version = /(\d+)\.(\d+)\S*/.exec((await run(bwrap, ["--version"])).output);
  if (version === null || Number(version[1]) < versionMin[0] || (Number(version[1]) === 0 && Number(version[2]) < versionMin[1]))
    return { problem: `bubblewrap ${version?.[0] ?? "of an unknown version"} is too old: ${versionMin.join(".")} or newer is needed` };
  const mode = modeOfThisProcess();
  if (mode === undefined)
    return { problem: "this process is root without the capabilities to make namespaces, as in a container: run Kelpie as another user" };
  const asUser = mode === "root" ? [] : ["--unshare-user", "--uid", "1000"];
  const trial = await run(bwrap, [
    ...asUser,
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "/bin/true",
  ]);
  if (!trial.ok) return { problem: `bubblewrap may not make namespaces here (${trial.output.trim()})${advice()}` };
  return { bwrap, version: version[0], mode, cgroups: findCgroupParent() };
}

/** With the host's root, a command would own the host's files: so root must be able to become somebody else. */
function modeOfThisProcess(): BubblewrapMode | undefined {
  if (process.geteuid!() !== 0) return "user-namespace";
  const effective = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0"}`);
  return (effective & rootCapabilities) === rootCapabilities ? "root" : undefined;
}

function advice(): string {
  const says = (name: string, value: string): boolean =>
    existsSync(`/proc/sys/${name}`) && readFileSync(`/proc/sys/${name}`, "utf8").trim() === value;
  if (says("kernel/unprivileged_userns_clone", "0")) return ": allow user namespaces with sysctl kernel.unprivileged_userns_clone=1";
  if (says("user/max_user_namespaces", "0")) return ": allow user namespaces with sysctl user.max_user_namespaces=10000";
  if (says("kernel/apparmor_restrict_unprivileged_userns", "1"))
    return ": AppArmor keeps user namespaces from programs without a profile; install the package apparmor-profiles, or allow them with sysctl kernel.apparmor_restrict_unprivileged_userns=0";
  return existsSync("/.dockerenv") || existsSync("/run/.containerenv")
    ? ": this is a container, whose own filter refuses it; run it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or Kelpie outside of it"
    : "";
}

function run(program: string, args: readonly string[]): Promise<{ readonly ok: boolean; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 10_000 }, (error, stdout, stderr) => resolve({ ok: error === null, output: stdout + stderr }));
  });
}
