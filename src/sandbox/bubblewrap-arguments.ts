/** What bubblewrap is told: the namespaces of a sandbox and what its commands see. */
import { lstatSync, readlinkSync } from "node:fs";
import type { Bounds, Mount } from "./sandbox.ts";

/** The paths of a sandbox as commands see them. */
export const inside = {
  workspace: "/workspace",
  temporary: "/tmp",
  runtime: "/opt/kelpie/bin/node",
  /** Beside the PATH's folders, and with the name that shells of many uses go by. */
  firstShell: "/opt/kelpie/first/sh",
  path: "/opt/kelpie/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
} as const;

/** Taken, so that no mount of a caller hides what the isolation rests on. */
export const reservedTargets: readonly string[] = [
  inside.workspace,
  inside.temporary,
  "/proc",
  "/dev",
  "/usr",
  "/etc",
  "/bin",
  "/sbin",
  "/lib",
  "/lib64",
];

/**
 * How the namespaces are made. `root`: by a privileged process, and commands then have a user of their own on the host, who
 * has nothing; `user-namespace`: by an ordinary one.
 */
export type BubblewrapMode = "root" | "user-namespace";

/** The user of commands in a user namespace. */
export const insideUser = 1000;

const sharedMemoryBytes = 64 * 2 ** 20;

/** Of /etc only what programs need to find libraries, certificates and the time zone. */
const configuration = [
  "alternatives ca-certificates.conf fonts ld.so.cache ld.so.conf ld.so.conf.d localtime mime.types",
  "perl pki/tls/certs python3 ssl/certs ssl/openssl.cnf timezone",
]
  .flatMap((line) => line.split(" "))
  .map((name) => `/etc/${name}`);

export interface View {
  readonly mode: BubblewrapMode;
  readonly user: number;
  readonly group: number;
  /** Folders of the host. */
  readonly workspace: string;
  readonly temporary: string;
  /** A folder of the host with `passwd`, `group`, `hosts`, `nsswitch.conf` and `resolv.conf`. */
  readonly etc: string;
  /** A shell of the host's that nobody may read, for the first process: the kernel lets nobody look into what runs it. */
  readonly firstShell: string;
  /** The program that runs Kelpie, for tools in TypeScript. */
  readonly runtime: string;
  readonly mounts: readonly Mount[];
  readonly bounds: Bounds;
  /** Whether control groups bound memory; where they do not, each process is bounded. */
  readonly hasCgroup: boolean;
}

/**
 * Words that run what is appended to them as the first process of new namespaces. The filter of system calls is on
 * descriptor 9, what bubblewrap says of itself on 4.
 */
export function bubblewrapArguments(view: View): readonly string[] {
  const { mode, user, group, mounts } = view;
  return [
    ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"],
    mode === "root" ? dropToUser : ["--unshare-user", "--uid", String(user), "--gid", String(group), "--cap-drop", "ALL"],
    ["--as-pid-1", "--die-with-parent", "--new-session", "--seccomp", "9", "--info-fd", "4"],
    // bubblewrap would make these for its own user alone.
    parents(mounts).flatMap((folder) => ["--perms", "0755", "--dir", folder]),
    ["--ro-bind", "/usr", "/usr", ...systemFolders()],
    configuration.flatMap((path) => ["--ro-bind-try", path, path]),
    ["passwd", "group", "hosts", "nsswitch.conf", "resolv.conf"].flatMap((name) => ["--ro-bind", `${view.etc}/${name}`, `/etc/${name}`]),
    ["--ro-bind", view.runtime, inside.runtime, "--ro-bind", view.firstShell, inside.firstShell],
    ["--proc", "/proc", "--dev", "/dev"],
    // Both are memory that somebody has to bound; /dev itself would take files too.
    ["--perms", "1777", "--size", String(sharedMemoryBytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"],
    ["--bind", view.temporary, inside.temporary, "--symlink", "../tmp", "/var/tmp"],
    ["--bind", view.workspace, inside.workspace],
    mounts.flatMap(({ source, target, writable }) => [writable === true ? "--bind" : "--ro-bind", source, target]),
    ["--remount-ro", "/", "--"],
    prlimit(view),
  ].flat();
}

/** What `setpriv` needs to give the rest away. */
const dropToUser = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP".split(" ");

/**
 * Words that run what is appended to them as the user of commands. The first process of the namespace stays root's, with no
 * right but to become another: so no command gets at it, and bubblewrap's end still ends it, as one user's signal.
 */
export function becomeUser({ mode, user, group }: View): readonly string[] {
  if (mode === "user-namespace") return [];
  const identity = ["--reuid", String(user), "--regid", String(group), "--clear-groups"];
  return ["/usr/bin/setpriv", ...identity, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"];
}

/** /bin and its like: links into /usr, or folders of their own on older systems. */
function systemFolders(): readonly string[] {
  return ["bin", "sbin", "lib", "lib32", "lib64", "libx32"].flatMap((name) => {
    const stat = lstatSync(`/${name}`, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    return stat.isSymbolicLink() ? ["--symlink", readlinkSync(`/${name}`), `/${name}`] : ["--ro-bind", `/${name}`, `/${name}`];
  });
}

/** Folders that lead to what is mounted. */
function parents(mounts: readonly Mount[]): readonly string[] {
  const paths = ["/var/tmp", inside.runtime, inside.firstShell, ...configuration, ...mounts.map(({ target }) => target)];
  const folders = paths.flatMap((path) => {
    const names = path.split("/").slice(1, -1);
    return names.map((_, index) => `/${names.slice(0, index + 1).join("/")}`);
  });
  return [...new Set(folders)];
}

/** Inside, because processes are counted by user namespace. */
function prlimit({ bounds, hasCgroup }: View): readonly string[] {
  const each = {
    // One byte: of 0, a program that the host hands core dumps to would still be started.
    core: 1,
    nofile: bounds.openFiles,
    fsize: bounds.diskBytes,
    nproc: bounds.processes,
    memlock: 8 * 2 ** 20,
    sigpending: 1_024,
    msgqueue: 0,
    ...(hasCgroup ? {} : { data: bounds.memoryBytes }),
  };
  return ["/usr/bin/prlimit", ...Object.entries(each).map(([name, value]) => `--${name}=${value}:${value}`), "--"];
}
