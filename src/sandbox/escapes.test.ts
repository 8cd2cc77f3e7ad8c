/**
 * Attempts to leave a sandboxed process or to use up the host, each run for real, with what stops it.
 *
 * An attempt that works prints ESCAPED. `says` is what a stopped one prints or how it ends, so that an attempt that did not
 * even begin is no success either.
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";
import { EgressProxy } from "./egress-proxy.ts";
import { type CommandResult, runCommand } from "./run-command.ts";
import type { Bounds, Sandbox } from "./sandbox.ts";
import { type Architecture, syscallNumber } from "./syscalls.ts";
import { bubblewrapMissing } from "./testing.ts";

const megabyte = 2 ** 20;
const missing =
  bubblewrapMissing ?? (existsSync("/usr/bin/perl") ? undefined : "perl, which makes the system calls of these attempts, is not installed");

const filter = "the filter of system calls";
const namespaces = "namespaces";
const view = "what is mounted";
const capabilities = "no capabilities";
const bound = "a bound";
const proxy = "the egress proxy";

interface Attempt {
  readonly name: string;
  readonly by: string;
  /** A shell script. */
  readonly script: string;
  /** Of its output, or of the reason it ended for. */
  readonly says: RegExp;
  readonly bounds?: Partial<Bounds>;
  readonly timeoutMilliseconds?: number;
  readonly needs?: Architecture;
}

/** A system call by its number; a refused one prints its error's number. */
const call = (number: number, ...args: readonly (string | number)[]): string =>
  `perl -e 'my @a = (${args.join(", ")}); my $r = syscall(${number}, @a); print $r == -1 ? "errno " . ($! + 0) : "ESCAPED $r"'`;
const named = (name: string, ...args: readonly (string | number)[]): string =>
  call(syscallNumber(process.arch as Architecture, name)!, ...args);

const refusedCalls: readonly (readonly [name: string, ...args: (string | number)[]])[] = [
  ["mount", '"tmpfs"', '"/tmp"', '"tmpfs"', 0, 0],
  ["umount2", '"/proc"', 2],
  ["pivot_root", '"."', '"."'],
  ["chroot", '"/tmp"'],
  ["unshare", 0x10000000],
  ["unshare", 0x40000000],
  ["setns", 0, 0],
  ["clone", 0x10000011, 0, 0, 0, 0],
  ["fsopen", '"tmpfs"', 0],
  ["open_tree", -100, '"/"', 1],
  ["move_mount", 0, '""', 0, '""', 0],
  ["ptrace", 16, 1, 0, 0],
  ["process_vm_readv", 1, 0, 0, 0, 0, 0],
  ["pidfd_getfd", 0, 0, 0],
  ["open_by_handle_at", 0, 0, 0],
  ["keyctl", 0, -3, 1],
  ["add_key", '"user"', '"x"', '"y"', 1, -3],
  ["bpf", 0, 0, 0],
  ["perf_event_open", 0, 0, -1, -1, 0],
  ["io_uring_setup", 8, '"\\0" x 120'],
  ["userfaultfd", 0],
  ["kexec_load", 0, 0, 0, 0],
  ["init_module", '"x"', 1, '""'],
  ["reboot", 0xfee1dead, 672274793, 0],
  ["swapon", '"/dev/zero"', 0],
  ["acct", '"/tmp/acct"'],
  ["settimeofday", 0, 0],
  ["sethostname", '"x"', 1],
  ["syslog", 3, '"x" x 100', 100],
  ["memfd_secret", 0],
  ["personality", 0x0040000],
  ["ioctl", 0, 0x5412, '"x"'],
  ["socket", 17, 3, 0], // AF_PACKET
  ["socket", 16, 3, 12], // AF_NETLINK, the firewall's
  ["socket", 38, 5, 0], // AF_ALG
  ["socket", 40, 1, 0], // AF_VSOCK
];

/** Asks for a new network interface over netlink, and prints the kernel's answer. */
const newInterface = `perl -e '
socket(my $s, 16, 3, 0) or die;
my $link = pack("CxSlLL", 0, 0, 0, 1, 1);
send($s, pack("LSSLL", 16 + length $link, 16, 0x605, 1, 0) . $link, 0) or die;
recv($s, my $answer, 4096, 0); my $error = unpack("x16l", $answer); print $error == 0 ? "ESCAPED" : "errno " . -$error'`;

const attempts = (host: Host): readonly Attempt[] => [
  ...refusedCalls.map(([name, ...args]) => ({
    name: `${name}(${args.join(", ")})`,
    by: filter,
    script: named(name, ...args),
    says: /^errno 1$/,
  })),
  { name: "clone3, whose flags a filter cannot see", by: filter, script: named("clone3", 0, 0), says: /^errno 38$/ },
  { name: "a system call newer than the filter", by: filter, script: call(470, 0, 0), says: /^errno 38$/ },
  {
    name: "a system call by its x32 number",
    by: filter,
    script: `${call(0x40000000 + 39)}; echo " code $?"`,
    says: /code 159\nBad system call/,
    needs: "x64",
  },

  {
    name: "a raw socket",
    by: capabilities,
    script: `perl -MSocket -e 'socket(my $s, AF_INET, SOCK_RAW, 1) ? print "ESCAPED" : print "errno ", $! + 0'`,
    says: /^errno 1$/,
  },
  { name: "a new network interface", by: capabilities, script: newInterface, says: /^errno 1$/ },
  { name: "a device node", by: capabilities, script: "mknod /workspace/mem c 1 1 && echo ESCAPED", says: /Operation not permitted/ },
  { name: "a real-time priority", by: capabilities, script: "chrt -f 50 true && echo ESCAPED", says: /failed to set/ },
  {
    name: "a better priority",
    by: capabilities,
    script: `perl -e 'setpriority(0, 0, -20) && print "ESCAPED"; print "errno ", $! + 0'`,
    says: /^errno (1|13)$/,
  },
  { name: "another user", by: capabilities, script: `perl -e '$> = 0; print $> == 0 ? "ESCAPED" : "still $>"'`, says: /^still \d+$/ },
  {
    name: "a setuid program of one's own",
    by: "no new privileges",
    script: "cp /usr/bin/id ./id; chmod 6755 ./id; ./id -un; grep NoNewPrivs /proc/self/status",
    says: /^user\nNoNewPrivs:\s1$/m,
  },
  {
    name: "a setuid program of the system",
    by: "no new privileges",
    script: "echo | su root -c 'echo ESCAPED'; echo tried",
    says: /tried/,
  },

  {
    name: "TCP to an address",
    by: namespaces,
    script: 'perl -MIO::Socket::INET -e \'print IO::Socket::INET->new(PeerAddr => "1.1.1.1:443", Timeout => 5) ? "ESCAPED" : "$!"\'',
    says: /unreachable/,
  },
  {
    name: "UDP to a name server",
    by: namespaces,
    script: `perl -MSocket -e 'socket(my $s, AF_INET, SOCK_DGRAM, 0); print send($s, "x", 0, pack_sockaddr_in(53, inet_aton("8.8.8.8"))) ? "ESCAPED" : "$!"'`,
    says: /unreachable/,
  },
  {
    name: "a server on the host's loopback",
    by: namespaces,
    script: `perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(PeerAddr => "127.0.0.1:${host.port}") ? "ESCAPED" : "$!"'`,
    says: /refused/,
  },
  {
    name: "an abstract unix socket of the host",
    by: namespaces,
    script: `perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_STREAM, 0); print connect($s, pack("S", AF_UNIX) . "\\0${host.abstractName}") ? "ESCAPED" : "$!"'`,
    says: /refused/,
  },
  {
    name: "a unix socket of the host, as docker's is",
    by: view,
    script: `perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new("${host.socketPath}") ? "ESCAPED" : "$!"'; ls /var/run/docker.sock /run/docker.sock`,
    says: /No such file[\s\S]*No such file/,
  },
  { name: "the host's connections", by: namespaces, script: "wc -l </proc/net/tcp; grep -c eth0 /proc/net/dev", says: /^1\n0$/ },
  {
    name: "a signal to the host's processes",
    by: namespaces,
    script: `kill -0 ${process.pid} && echo ESCAPED; ls -d /proc/[0-9]* | wc -l`,
    says: /^\d\n.*No such process/,
  },
  { name: "the host's shared memory", by: namespaces, script: "wc -l </proc/sysvipc/shm", says: /^1$/ },
  { name: "the host's name", by: namespaces, script: "uname -n", says: /^sandbox$/ },

  { name: "a file of the host", by: view, script: `cat ${host.file} && echo ESCAPED`, says: /No such file/ },
  {
    name: "the host's passwords",
    by: view,
    script: "cat /etc/shadow && echo ESCAPED; cat /proc/1/root/etc/shadow && echo ESCAPED",
    says: /No such file/,
  },
  {
    name: "keys of the host's users",
    by: view,
    script: "ls -a /root /home ~root/.ssh /proc/1/cwd/../root && echo ESCAPED",
    says: /No such file/,
  },
  {
    name: "Kelpie's environment",
    by: namespaces,
    script: "cat /proc/*/environ | tr '\\0' '\\n' | grep KELPIE_ESCAPE && echo ESCAPED; echo none",
    says: /^none$/m,
  },
  {
    name: "Kelpie's descriptors",
    by: "descriptors are not handed on",
    script: `for f in /proc/1/fd/* /proc/self/fd/*; do readlink "$f"; done | grep -v -E '^(socket|pipe):|^/dev/null$|^/proc/|^$' && echo ESCAPED; echo none`,
    says: /^none$/,
  },
  { name: "the machine's memory", by: view, script: "cat /dev/mem /dev/kmem /dev/port && echo ESCAPED", says: /No such file/ },
  { name: "the kernel's memory", by: "rights of files", script: "head -c 100 /proc/kcore && echo ESCAPED", says: /denied|No such file/ },
  { name: "the kernel's log", by: view, script: "cat /dev/kmsg && echo ESCAPED", says: /No such file/ },
  { name: "disks of the host", by: view, script: "ls /dev/sd* /dev/vd* /dev/nvme* /dev/loop* /sys && echo ESCAPED", says: /No such file/ },
  {
    name: "the kernel's settings",
    by: "rights of files",
    script: "echo '|/workspace/x' >/proc/sys/kernel/core_pattern && echo ESCAPED",
    says: /Permission denied|Read-only/,
  },
  {
    name: "the kernel's keys to the machine",
    by: "rights of files",
    script: "echo b >/proc/sysrq-trigger && echo ESCAPED",
    says: /Permission denied|Read-only|nonexistent/,
  },
  {
    name: "another program in the system's place",
    by: view,
    script: "cp /bin/true /usr/bin/sh && echo ESCAPED; echo x >>/etc/passwd && echo ESCAPED; touch /new && echo ESCAPED",
    says: /Read-only|denied/,
  },
  {
    name: "other rights for the system's mounts",
    by: filter,
    script: "mount -o remount,rw / && echo ESCAPED; mount -o remount,rw /usr && echo ESCAPED",
    says: /denied|permitted|must be superuser/,
  },
  { name: "a hard link to the system", by: view, script: "ln /usr/bin/env ./env && echo ESCAPED", says: /cross-device|not permitted/i },
  { name: "control groups", by: view, script: "ls /sys/fs/cgroup && echo ESCAPED", says: /No such file/ },
  {
    name: "the memory of the namespace's first process",
    by: "rights of files",
    script: `perl -e 'open(my $m, "+<", "/proc/1/mem") or die "$!"; print "ESCAPED"'`,
    says: /Permission denied/,
  },

  {
    name: "a fork bomb",
    by: bound,
    script: "bomb() { bomb | bomb & }; bomb; sleep 1000",
    // The bomb may have taken the last place before the shell itself starts its next program.
    says: /timeout|Cannot fork/,
    bounds: { processes: 50 },
    timeoutMilliseconds: 1_500,
  },
  {
    name: "a fork bomb that leaves its parents",
    by: bound,
    script: `perl -e 'while (1) { fork; setpgrp; $SIG{TERM} = "IGNORE" }'`,
    says: /timeout|memory-limit/,
    bounds: { processes: 50, memoryBytes: 64 * megabyte },
    timeoutMilliseconds: 1_500,
  },
  { name: "a loop that never ends", by: bound, script: "while :; do :; done", says: /timeout/, timeoutMilliseconds: 400 },
  {
    name: "a swarm of zombies",
    by: bound,
    script: `perl -e '$SIG{CHLD} = "DEFAULT"; my $n = 0; while ($n < 500) { defined(my $p = fork) or last; exit if !$p; $n++ } print $n < 500 ? "stopped" : "ESCAPED"'`,
    says: /^stopped$/,
    bounds: { processes: 50 },
  },
  {
    name: "a double fork into another session",
    by: namespaces,
    script: "setsid -f sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done'; sleep 1000",
    says: /timeout/,
    timeoutMilliseconds: 400,
  },
  {
    name: "signals ignored",
    by: namespaces,
    script: "trap '' TERM INT HUP QUIT; while :; do sleep 1000; done",
    says: /timeout/,
    timeoutMilliseconds: 400,
  },
  {
    name: "the first process stopped or ended",
    by: namespaces,
    script: "kill -STOP 1; kill -9 1; sleep 1000",
    says: /timeout/,
    timeoutMilliseconds: 400,
  },
  {
    name: "memory of a process",
    by: bound,
    script: `perl -e 'my $x = "x" x 500_000_000; print "ESCAPED"'`,
    says: /memory-limit|Out of memory/,
    bounds: { memoryBytes: 64 * megabyte },
  },
  {
    name: "memory in /dev/shm",
    by: bound,
    script: "head -c 200000000 /dev/zero >/dev/shm/x && echo ESCAPED",
    says: /No space|memory-limit|File size/,
    bounds: { memoryBytes: 256 * megabyte },
  },
  {
    name: "memory in a file without a name",
    by: bound,
    script: memfd(),
    says: /memory-limit|stopped/,
    bounds: { memoryBytes: 64 * megabyte },
  },
  { name: "memory of System V", by: bound, script: sharedSegments(), says: /memory-limit|stopped/, bounds: { memoryBytes: 64 * megabyte } },
  {
    name: "memory locked",
    by: bound,
    script: `perl -e 'my $x = "x" x 40_000_000; my $r = syscall(${process.arch === "arm64" ? 230 : 151}, 3); print $r == 0 ? "ESCAPED" : "errno " . ($! + 0)'`,
    says: /^errno (12|1)$/,
  },
  {
    name: "the disk, by one file",
    by: bound,
    script: "head -c 20000000 /dev/zero >big && echo ESCAPED",
    says: /File size|File too large|disk-limit/,
    bounds: { diskBytes: 4 * megabyte },
  },
  {
    name: "the disk, by many",
    by: bound,
    script: "i=0; while :; do head -c 1000000 /dev/zero >f$i; i=$((i+1)); [ $i -lt 40 ] || sleep 1000; done",
    says: /disk-limit/,
    bounds: { diskBytes: 4 * megabyte },
  },
  {
    name: "the disk, by /tmp",
    by: bound,
    script: "i=0; while :; do head -c 1000000 /dev/zero >/tmp/f$i; i=$((i+1)); [ $i -lt 40 ] || sleep 1000; done",
    says: /disk-limit/,
    bounds: { diskBytes: 4 * megabyte },
  },
  {
    name: "the disk's entries",
    by: bound,
    script: `perl -e 'for (1..5000) { open my $f, ">", "f$_" } sleep 1000'`,
    says: /disk-limit/,
    bounds: { diskEntries: 1_000 },
  },
  { name: "a file that claims to be enormous", by: bound, script: "truncate -s 1T sparse && echo ESCAPED", says: /File size|too large/i },
  {
    name: "folders without end",
    by: bound,
    script: `perl -e 'for (1..3000) { mkdir "d" and chdir "d" or last } print "made"; sleep 1000'`,
    says: /disk-limit/,
    bounds: { diskEntries: 500 },
  },
  {
    name: "all descriptors",
    by: bound,
    script: `perl -e 'my @f; while (@f < 5000) { open(my $f, "<", "/dev/null") or last; push @f, $f } print @f < 5000 ? "stopped at " . @f : "ESCAPED"'`,
    says: /^stopped at \d+$/,
    bounds: { openFiles: 100 },
  },
  {
    name: "all watches of files",
    by: bound,
    script: `perl -e 'my $n = 0; while ($n < 5000) { my $r = syscall(${process.arch === "arm64" ? 26 : 294}, 0); last if $r < 0; $n++ } print $n < 5000 ? "stopped" : "ESCAPED"'`,
    says: /^stopped$/,
  },
  { name: "an endless output", by: bound, script: "cat /dev/zero", says: /output-limit/ },
  { name: "an endless output of errors", by: bound, script: "yes >&2", says: /output-limit/ },
  {
    name: "a core dump, also to a program of the host",
    by: bound,
    script: "ulimit -c unlimited; sh -c 'kill -SEGV $$'; ls core* && echo ESCAPED; grep 'core file' /proc/self/limits",
    says: /^Max core file size +1 +1 /m,
  },
];

function memfd(): string {
  const number = syscallNumber(process.arch as Architecture, "memfd_create")!;
  return `perl -e 'my $name = "x"; my $fd = syscall(${number}, $name, 0); if ($fd < 0) { print "stopped"; exit } open(my $f, ">&=", $fd); for (1..300) { syswrite($f, "x" x 1_000_000) or last } print "ESCAPED"'`;
}

function sharedSegments(): string {
  return `perl -e 'for (1..30) { my $id = shmget(0, 10_000_000, 0600 | 512); if (!defined $id) { print "stopped"; exit } shmwrite($id, "x" x 10_000_000, 0, 10_000_000) or die } print "ESCAPED"'`;
}

interface Host {
  readonly port: number;
  readonly abstractName: string;
  readonly socketPath: string;
  readonly file: string;
}

describe("Attempts to escape", { skip: missing ?? false }, () => {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-escapes-"));
  const environment = new RealEnvironment({ write: () => undefined });
  const abstractName = `kelpie-escapes-${process.pid}`;
  const servers = [createServer(), createServer(), createServer()];
  let backend: BubblewrapBackend;
  let host: Host;
  let shared: Sandbox;
  const stopped: (readonly [string, string])[] = [];

  before(async () => {
    process.env["KELPIE_ESCAPE"] = "of the host";
    writeFileSync(join(folder, "file"), "of the host", { mode: 0o644 });
    const listen = (index: number, place: string | { port: number; host: string }): Promise<void> =>
      new Promise((resolve) => void servers[index]!.listen(place, resolve));
    await listen(0, { port: 0, host: "127.0.0.1" });
    await listen(1, join(folder, "socket"));
    await listen(2, `\0${abstractName}`);
    host = {
      port: (servers[0]!.address() as AddressInfo).port,
      abstractName,
      socketPath: join(folder, "socket"),
      file: join(folder, "file"),
    };
    backend = await BubblewrapBackend.open({ environment });
    shared = await backend.create({ isolation: "process" });
  });
  after(async () => {
    await backend?.close();
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true, force: true });
    delete process.env["KELPIE_ESCAPE"];
  });

  const said = ({ exit, stdout, stderr }: CommandResult): string =>
    `${stdout.toString("latin1")}${stderr.toString("latin1")}${exit.reason === "exited" ? "" : exit.reason}`.trim();

  for (const [index, { name }] of attempts({ port: 0, abstractName, socketPath: "", file: "" }).entries())
    test(name, async (context) => {
      const attempt = attempts(host)[index]!;
      if (attempt.needs !== undefined && attempt.needs !== process.arch) return context.skip(`only on ${attempt.needs}`);
      const sandbox = attempt.bounds === undefined ? shared : await backend.create({ isolation: "process", bounds: attempt.bounds });
      const command = {
        program: "/bin/sh",
        arguments: ["-c", attempt.script],
        timeoutMilliseconds: attempt.timeoutMilliseconds ?? 20_000,
        outputBytesMax: megabyte,
      };
      const result = await runCommand(sandbox, command);
      const text = said(result);
      assert.doesNotMatch(text, /ESCAPED/, text.slice(0, 500));
      assert.match(text, attempt.says);
      // The sandbox is none the worse for it, and neither is the host.
      if (sandbox !== shared) await sandbox.close();
      stopped.push([name, attempt.by]);
    });

  test("Nothing of all this is left on the host", async () => {
    assert.equal((await runCommand(shared, { program: "echo", arguments: ["well"] })).stdout.toString(), "well\n");
    await backend.close();
    assert.ok(stopped.length >= 40, `${stopped.length} attempts were stopped`);
    assert.equal(existsSync("/tmp/acct"), false);
    const groups = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].filter((path) => existsSync(path));
    for (const group of groups) assert.equal(existsSync(join(group, `kelpie-${process.pid}-${shared.id}`)), false);
    backend = await BubblewrapBackend.open({ environment });
  });

  describe("through the network that a policy allows", () => {
    let sandbox: Sandbox;
    let port: number;
    const seen: string[] = [];
    let answers = 0;
    const upstream = createHttpServer((request, response) => {
      seen.push(JSON.stringify([request.url, request.rawHeaders]));
      response.end("REACHED");
    });
    const secret = "the-secret-itself";

    before(async () => {
      await new Promise<void>((resolve) => void upstream.listen(0, "127.0.0.1", resolve));
      port = (upstream.address() as AddressInfo).port;
      // Names lead to where these answers say, as an attacker's name server would have it.
      const lookup = (name: string): Promise<readonly string[]> => {
        if (name === "rebinding.test") return Promise.resolve([answers++ % 2 === 0 ? "192.0.2.1" : "127.0.0.1"]);
        if (name === "inside.test") return Promise.resolve(["10.0.0.1"]);
        if (name === "mixed.test") return Promise.resolve(["8.8.8.8", "127.0.0.1"]);
        return Promise.resolve(["127.0.0.1"]);
      };
      const others = await BubblewrapBackend.open({ environment, egress: new EgressProxy({ environment, lookup }) });
      await backend.close();
      backend = others;
      const ports = [port];
      sandbox = await backend.create({
        isolation: "process",
        network: {
          allow: [
            { host: "allowed.test", ports, privateAddresses: true },
            { host: "other.test", ports, privateAddresses: true },
            { host: "*.wild.test", ports, privateAddresses: true },
            ...["rebinding.test", "inside.test", "mixed.test", "local.test"].map((name) => ({ host: name, ports })),
            ...["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"].map((name) => ({ host: name, ports: [80, port] })),
          ],
          secrets: [{ placeholder: "PLACEHOLDER-123", value: secret, hosts: ["allowed.test"] }],
          bytesMax: 10 * megabyte,
          connectionsMax: 8,
        },
      });
    });
    after(() => void upstream.close());

    const run = async (script: string): Promise<string> =>
      said(await runCommand(sandbox, { program: "/bin/sh", arguments: ["-c", script] }));
    /** Sends text to the proxy as it is, and prints what comes back. */
    const raw = (text: string): Promise<string> => {
      const code = `const s=require("net").connect(3128,"127.0.0.1");s.on("data",d=>process.stdout.write(d));s.on("error",()=>0);s.setTimeout(3000,()=>s.destroy());s.write(${JSON.stringify(text)})`;
      return runCommand(sandbox, { program: "node", arguments: ["-e", code] }).then(said);
    };
    const get = (host: string, headers = "", path = "/"): Promise<string> =>
      raw(`GET http://${host}${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}Connection: close\r\n\r\n`);
    const connect = (target: string): Promise<string> => raw(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);

    test("What the policy allows is reached, and a placeholder becomes its secret", async () => {
      seen.length = 0;
      assert.match(await get(`allowed.test:${port}`, "Authorization: Bearer PLACEHOLDER-123\r\n"), /REACHED/);
      assert.ok(seen[0]!.includes(`Bearer ${secret}`));
      assert.match(await get(`a.wild.test:${port}`), /REACHED/);
      assert.match(await connect(`allowed.test:${port}`), /^HTTP\/1.1 200/);
    });

    for (const [name, attempt, says] of [
      [
        "the host, past the proxy",
        () => run(`perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(PeerAddr => "127.0.0.1:${port}") ? "REACHED" : "$!"'`),
        /refused/,
      ],
      [
        "an address, past the proxy",
        () => run('perl -MIO::Socket::INET -e \'print IO::Socket::INET->new(PeerAddr => "8.8.8.8:53") ? "REACHED" : "$!"\''),
        /unreachable/,
      ],
      ["a host that no rule names", () => get(`evil.test:${port}`), /^HTTP\/1.1 403.*does not allow/s],
      ["a domain whose subdomains are allowed", () => get(`wild.test:${port}`), /^HTTP\/1.1 403/],
      ["a name that ends like an allowed one", () => get(`evilwild.test:${port}`), /^HTTP\/1.1 403/],
      ["another port of an allowed host", () => connect("allowed.test:22"), /^HTTP\/1.1 403/],
      ["a name that leads to this host", () => get(`local.test:${port}`), /^HTTP\/1.1 403.*no public address/s],
      ["a tunnel to a name that leads to this host", () => connect(`local.test:${port}`), /^HTTP\/1.1 403.*no public address/s],
      ["a name that leads to a private network", () => get(`inside.test:${port}`), /^HTTP\/1.1 403.*10\.0\.0\.1/s],
      ["a name that leads to a public address and this host", () => get(`mixed.test:${port}`), /^HTTP\/1.1 403/],
      ["a name whose answer changes, first", () => get(`rebinding.test:${port}`), /^HTTP\/1.1 403/],
      ["a name whose answer changes, then", () => get(`rebinding.test:${port}`), /^HTTP\/1.1 403/],
      ["this host by its address", () => get(`127.0.0.1:${port}`), /^HTTP\/1.1 403/],
      ["this host by its address as a number", () => get(`2130706433:${port}`), /^HTTP\/1.1 403/],
      ["this host by its IPv6 address", () => get(`[::1]:${port}`), /^HTTP\/1.1 403/],
      ["this host by IPv4 within IPv6", () => connect(`[::ffff:127.0.0.1]:${port}`), /^HTTP\/1.1 403/],
      ["the cloud's metadata", () => get("169.254.169.254", "", "/latest/meta-data/"), /^HTTP\/1.1 403.*no public address/s],
      ["the proxy without an address", () => raw(`GET / HTTP/1.1\r\nHost: allowed.test:${port}\r\n\r\n`), /^HTTP\/1.1 400/],
      ["another scheme", () => raw("GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1.1 400/],
      ["a user's name that looks like a host", () => get(`allowed.test:${port}@evil.test`), /^HTTP\/1.1 400/],
      ["a tunnel's target with more in it", () => connect(`allowed.test:${port}/x`), /^HTTP\/1.1 40[03]/],
      [
        "the secret at a host it is not for",
        () => get(`other.test:${port}`, "X: PLACEHOLDER-123\r\n"),
        /^HTTP\/1.1 403.*is not for other.test/s,
      ],
      [
        "two lengths of one request",
        () => get(`allowed.test:${port}`, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        /^(HTTP\/1.1 400.*)?$/s,
      ],
      [
        "a header in a header",
        () => raw(`GET http://allowed.test:${port}/ HTTP/1.1\r\nHost: x\r\nX: a\rInjected: b\r\n\r\n`),
        /^(HTTP\/1.1 400.*)?$/s,
      ],
      ["an endless header", () => get(`allowed.test:${port}`, `X: ${"x".repeat(100_000)}\r\n`), /^(HTTP\/1.1 4.*)?$/s],
    ] as const)
      test(name, async () => {
        seen.length = 0;
        const text = await attempt();
        assert.doesNotMatch(text, /REACHED/);
        assert.match(text, says);
        assert.deepEqual(seen, [], "nothing reached a host");
        stopped.push([name, proxy]);
      });

    test("A Host header that names another host than the request does is replaced", async () => {
      seen.length = 0;
      assert.match(
        await raw(
          `GET http://allowed.test:${port}/x HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n`,
        ),
        /REACHED/,
      );
      const [url, headers] = JSON.parse(seen[0]!) as [string, string[]];
      assert.deepEqual([url, headers], ["/x", ["Host", `allowed.test:${port}`, "Connection", "close"]]);
    });

    test("More connections than the policy allows are closed", async () => {
      const code = `let n=0,closed=0;for(let i=0;i<20;i++){const s=require("net").connect(3128,"127.0.0.1");s.on("close",()=>{closed++});s.on("error",()=>0)}setTimeout(()=>{console.log("closed "+closed);process.exit()},500)`;
      assert.equal(await run(`node -e '${code}'`), "closed 12");
    });

    test("A policy that changes cuts the tunnels it no longer allows", async () => {
      const code = `const s=require("net").connect(3128,"127.0.0.1");s.write("CONNECT allowed.test:${port} HTTP/1.1\\r\\n\\r\\n");s.on("data",d=>console.log(String(d).split("\\r")[0]));s.on("close",()=>console.log("cut"));s.on("error",()=>0)`;
      const running = await sandbox.start({ program: "node", arguments: ["-e", code] });
      let text = "";
      for await (const { bytes } of running.output) {
        text += Buffer.from(bytes).toString();
        if (/200/.test(text)) sandbox.setNetwork({ allow: [] });
      }
      assert.match(text, /200[\s\S]*cut/);
      assert.match(await get(`allowed.test:${port}`), /^HTTP\/1.1 403/);
    });
  });

  test("A workspace that is itself a link to the host's folders is the folder it leads to, and root's is refused", async () => {
    const link = join(folder, "link");
    symlinkSync("/", link);
    await assert.rejects(backend.create({ isolation: "process", workspace: link }), { name: "SandboxInputError" });
    assert.equal(readFileSync(join(folder, "file"), "utf8"), "of the host");
  });
});
