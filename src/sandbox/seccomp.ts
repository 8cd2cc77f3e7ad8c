/**
 * The filter of system calls: a classic BPF program, as bubblewrap's `--seccomp` takes it.
 *
 * What has no use for code in a sandbox and a history of holes in the kernel is refused, so that a program is told and
 * goes on. Another architecture's calls and x32's, which have other numbers, end the process.
 */
import { type Architecture, lastKnownSyscall, syscallNumber } from "./syscalls.ts";

export interface SeccompOptions {
  readonly architecture: Architecture;
  /** Whether memory that belongs to no process is bounded (by a control group). Where it is not, none can be had. */
  readonly sharedMemory: boolean;
}

const errno = { EPERM: 1, ENOSYS: 38 } as const;

/** A way into other kernels' parts, privileges or the host's state; or a thing of administrators and debuggers. */
const refused: readonly string[] = [
  "mount umount2 pivot_root chroot move_mount mount_setattr open_tree fsopen fsconfig fsmount fspick",
  "unshare setns name_to_handle_at open_by_handle_at fanotify_init",
  "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register",
  "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp vmsplice",
  "add_key request_key keyctl memfd_secret",
  "init_module finit_module delete_module create_module kexec_load kexec_file_load",
  "reboot swapon swapoff acct quotactl quotactl_fd syslog vhangup ioperm iopl modify_ldt",
  "settimeofday clock_settime clock_adjtime sethostname setdomainname",
  "mbind set_mempolicy set_mempolicy_home_node get_mempolicy migrate_pages move_pages",
  "lookup_dcookie nfsservctl sysfs uselib ustat",
].flatMap((line) => line.split(" "));

/** Memory that no process's limit counts. */
const sharedMemory: readonly string[] = ["shmget", "memfd_create", "mq_open"];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const cloneNamespaces = 0x7e02_0000;
const family = { unix: 1, ipv4: 2, ipv6: 10, netlink: 16 } as const;
/** NETLINK_ROUTE: programs list their network's addresses by it. To change any takes a capability that is not there. */
const netlinkRoute = 0;
/** What types into a terminal as if its user had: TIOCSTI, TIOCLINUX. */
const terminalInput = [0x5412, 0x541c];
/** PER_LINUX, and the question which one it is. */
const personalities = [0, 0xffff_ffff];

const auditArchitecture = { x64: 0xc000_003e, arm64: 0xc000_00b7 } as const;
const x32Bit = 0x4000_0000;

// linux/bpf_common.h and linux/seccomp.h.
const load = 0x20;
const jumpEqual = 0x15;
const jumpGreater = 0x25;
const jumpAtLeast = 0x35;
const jumpAnyBit = 0x45;
const returnValue = 0x06;
const allow = 0x7fff_0000;
const killProcess = 0x8000_0000;
const refuse = (code: number): number => 0x0005_0000 | code;

const numberOffset = 0;
const architectureOffset = 4;
/** Arguments of 64 bits; their low half on little-endian machines, and more than that no argument checked here has. */
const argumentOffset = (index: number): number => 16 + 8 * index;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

export function seccompProgram({ architecture, sharedMemory: hasSharedMemory }: SeccompOptions): Uint8Array {
  const numberOf = (name: string): number | undefined => syscallNumber(architecture, name);
  const instructions: Instruction[] = [
    [load, 0, 0, architectureOffset],
    [jumpEqual, 1, 0, auditArchitecture[architecture]],
    [returnValue, 0, 0, killProcess],
    [load, 0, 0, numberOffset],
    [jumpAtLeast, 0, 1, x32Bit],
    [returnValue, 0, 0, killProcess],
    [jumpGreater, 0, 1, lastKnownSyscall],
    [returnValue, 0, 0, refuse(errno.ENOSYS)],
  ];
  const names = hasSharedMemory ? refused : [...refused, ...sharedMemory];
  for (const number of names.map(numberOf))
    if (number !== undefined) instructions.push([jumpEqual, 0, 1, number], [returnValue, 0, 0, refuse(errno.EPERM)]);
  // Its flags are in memory, where a filter cannot look; without it the C library takes clone.
  instructions.push([jumpEqual, 0, 1, numberOf("clone3")!], [returnValue, 0, 0, refuse(errno.ENOSYS)]);
  for (const [name, check] of checks) {
    instructions.push([jumpEqual, 0, check.length, numberOf(name)!], ...check);
  }
  instructions.push([returnValue, 0, 0, allow]);
  return encode(instructions);
}

const permit: Instruction = [returnValue, 0, 0, allow];
const forbid: Instruction = [returnValue, 0, 0, refuse(errno.EPERM)];

/** Calls that are refused by their arguments; each check ends in an answer. */
const checks: readonly (readonly [name: string, check: readonly Instruction[]])[] = [
  ["clone", [[load, 0, 0, argumentOffset(0)], [jumpAnyBit, 1, 0, cloneNamespaces], permit, forbid]],
  ["ioctl", [[load, 0, 0, argumentOffset(1)], ...isOneOf(terminalInput), permit, forbid]],
  ["personality", [[load, 0, 0, argumentOffset(0)], ...isOneOf(personalities), forbid, permit]],
  [
    "socket",
    [
      [load, 0, 0, argumentOffset(0)],
      [jumpEqual, 0, 3, family.netlink],
      [load, 0, 0, argumentOffset(2)],
      [jumpEqual, 5, 0, netlinkRoute],
      forbid,
      ...isOneOf([family.unix, family.ipv4, family.ipv6]),
      forbid,
      permit,
    ],
  ],
];

/** To the second instruction after this, if what was loaded is one of `values`; else to the first. */
function isOneOf(values: readonly number[]): readonly Instruction[] {
  return values.map((value, index): Instruction => [jumpEqual, values.length - index, 0, value]);
}

function encode(instructions: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(instructions.length * 8);
  for (const [index, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(value >>> 0, index * 8 + 4);
  }
  return bytes;
}
