import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { seccompProgram } from "./seccomp.ts";
import { type Architecture, syscallNumber } from "./syscalls.ts";

interface Call {
  readonly audit?: number;
  readonly number: number;
  readonly args?: readonly number[];
}

/** Runs a program as the kernel does, on the data that it gives a filter. */
function verdict(program: Uint8Array, architecture: Architecture, { audit, number, args = [] }: Call): string {
  const code = Buffer.from(program);
  const data = Buffer.alloc(64);
  data.writeInt32LE(number, 0);
  data.writeUInt32LE(audit ?? (architecture === "x64" ? 0xc000003e : 0xc00000b7), 4);
  for (const [index, value] of args.entries()) data.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at * 8 < code.length; at++) {
    const [operation, ifTrue, ifFalse, value] = [
      code.readUInt16LE(at * 8),
      code[at * 8 + 2]!,
      code[at * 8 + 3]!,
      code.readUInt32LE(at * 8 + 4),
    ];
    const jump = (isTrue: boolean): void => void (at += isTrue ? ifTrue : ifFalse);
    if (operation === 0x20) accumulator = data.readUInt32LE(value);
    else if (operation === 0x15) jump(accumulator === value);
    else if (operation === 0x25) jump(accumulator > value);
    else if (operation === 0x35) jump(accumulator >= value);
    else if (operation === 0x45) jump((accumulator & value) !== 0);
    else if (operation === 0x06) return value === 0x7fff0000 ? "allow" : value === 0x80000000 ? "kill" : `errno ${value & 0xffff}`;
    else assert.fail(`Instruction ${at} has the code ${operation}`);
  }
  return assert.fail("The program ends without an answer");
}

const withShared = (architecture: Architecture): Uint8Array => seccompProgram({ architecture, sharedMemory: true });

for (const architecture of ["x64", "arm64"] as const) {
  const number = (name: string): number => syscallNumber(architecture, name)!;
  const cases: readonly (readonly [title: string, call: Call, answer: string])[] = [
    ["read", { number: architecture === "x64" ? 0 : 63 }, "allow"],
    ["execve", { number: architecture === "x64" ? 59 : 221 }, "allow"],
    ["mount", { number: number("mount") }, "errno 1"],
    ["the last of the refused", { number: number("lookup_dcookie") }, "errno 1"],
    ["bpf", { number: number("bpf") }, "errno 1"],
    ["clone3", { number: number("clone3") }, "errno 38"],
    ["clone, as fork does", { number: number("clone"), args: [0x01200011] }, "allow"],
    ["clone, as threads do", { number: number("clone"), args: [0x003d0f00] }, "allow"],
    ...[0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000].map(
      (flag) => [`clone with the namespace ${flag.toString(16)}`, { number: number("clone"), args: [flag | 0x11] }, "errno 1"] as const,
    ),
    ...(
      [
        [1, 0, "allow"],
        [2, 0, "allow"],
        [10, 0, "allow"],
        [16, 0, "allow"],
        [16, 12, "errno 1"],
        [17, 0, "errno 1"],
        [38, 0, "errno 1"],
        [40, 0, "errno 1"],
      ] as const
    ).map(
      ([family, protocol, answer]) =>
        [
          `a socket of the family ${family}, protocol ${protocol}`,
          { number: number("socket"), args: [family, 1, protocol] },
          answer,
        ] as const,
    ),
    ["ioctl TCGETS", { number: number("ioctl"), args: [0, 0x5401] }, "allow"],
    ["ioctl TIOCSTI", { number: number("ioctl"), args: [0, 0x5412] }, "errno 1"],
    ["ioctl TIOCSTI with other bits above what the kernel reads", { number: number("ioctl"), args: [0, 0x1_0000_5412] }, "errno 1"],
    ["ioctl TIOCLINUX", { number: number("ioctl"), args: [0, 0x541c] }, "errno 1"],
    ["personality, asked", { number: number("personality"), args: [0xffffffff] }, "allow"],
    ["personality, Linux", { number: number("personality"), args: [0] }, "allow"],
    ["personality, changed", { number: number("personality"), args: [0x0040000] }, "errno 1"],
    ["a call from after the table", { number: 453 }, "errno 38"],
    ["a call of x32", { number: 0x40000000 }, "kill"],
    ["a negative number", { number: -1 }, "kill"],
    ["another architecture", { number: 0, audit: 0x40000003 }, "kill"],
    ["the other architecture", { number: 0, audit: architecture === "x64" ? 0xc00000b7 : 0xc000003e }, "kill"],
  ];
  for (const [title, call, answer] of cases)
    test(`The filter for ${architecture} answers ${title}: ${answer}`, () =>
      assert.equal(verdict(withShared(architecture), architecture, call), answer));

  test(`Where no control group bounds memory, the filter for ${architecture} refuses memory that belongs to no process`, () => {
    for (const name of ["shmget", "memfd_create", "mq_open"]) {
      assert.equal(verdict(withShared(architecture), architecture, { number: number(name) }), "allow");
      assert.equal(verdict(seccompProgram({ architecture, sharedMemory: false }), architecture, { number: number(name) }), "errno 1");
    }
  });

  test(`The filter for ${architecture} is as the kernel takes it: whole instructions, no more than 4096`, () => {
    const { length } = withShared(architecture);
    assert.equal(length % 8, 0);
    assert.ok(length / 8 <= 4_096);
  });
}

for (const [architecture, path] of [
  ["x64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"],
  ["arm64", "/usr/include/asm-generic/unistd.h"],
] as const)
  test(`The numbers of ${architecture} are those of Linux's headers`, (context) => {
    let header: string;
    try {
      header = readFileSync(path, "utf8");
    } catch {
      return context.skip(`${path} is not here`);
    }
    for (const name of [
      "mount",
      "bpf",
      "clone",
      "socket",
      "ioctl",
      "ptrace",
      "shmget",
      "memfd_create",
      "setns",
      "keyctl",
      "personality",
      "swapon",
      "quotactl",
      "name_to_handle_at",
      "open_by_handle_at",
    ]) {
      const found = new RegExp(`^#define __NR(?:3264)?_${name} (\\d+)$`, "m").exec(header)?.[1];
      if (found !== undefined) assert.equal(syscallNumber(architecture, name), Number(found), name);
    }
  });
