/** What this machine must permit and have: namespaces, and a few programs of Debian's. */
import { spawnSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { postgresMissing } from "../../src/storage/testing/postgres-server.ts";

const programs: Readonly<Record<string, string>> = { ip: "iproute2", nft: "nftables", nsenter: "util-linux", unshare: "util-linux" };

/** Makes the wall clock of one process jump, and leaves its monotonic clock alone. */
export const fakeTimeLibrary: string | undefined = globSync("/usr/lib/*/faketime/libfaketime.so.1")[0];

/**
 * Namespaces of their own for the network, names, mounts, shared memory and processes. When the first process in them
 * ends, however it does, the kernel ends all others and takes the network apart.
 */
export const namespaces: readonly string[] = ["--net", "--uts", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** Why a cluster cannot be tested here, or `undefined` if it can. */
export function clusterMissing(): string | undefined {
  if (process.platform !== "linux") return `network namespaces are Linux's, and this is ${process.platform}`;
  for (const [program, debianPackage] of Object.entries(programs))
    if (!["/usr/bin", "/usr/sbin", "/bin", "/sbin"].some((folder) => existsSync(`${folder}/${program}`)))
      return `${program} is not installed (apt-get install ${debianPackage})`;
  if (fakeTimeLibrary === undefined) return "libfaketime is not installed (apt-get install faketime)";
  if (postgresMissing !== undefined) return postgresMissing;
  const attempt = spawnSync("unshare", [...namespaces, "sh", "-c", "ip link add probe type bridge && nft add table inet probe"], {
    encoding: "utf8",
  });
  if (attempt.status === 0) return undefined;
  const reason = attempt.error?.message ?? attempt.stderr.trim().split("\n")[0] ?? "";
  return `namespaces, a bridge and nftables are not permitted (run it as root, in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN): ${reason}`;
}
