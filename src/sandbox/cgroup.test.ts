import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Cgroup, findCgroupParent, removeStaleCgroups } from "./cgroup.ts";
import { defaultBounds } from "./sandbox.ts";

// Folders in the shape of control groups: what is found, and what is written where. The bounds themselves are kept by the
// kernel, in the contract of sandboxes, with the version that this machine has.
const root = mkdtempSync(join(tmpdir(), "kelpie-cgroup-"));
after(() => rmSync(root, { recursive: true, force: true }));

let trees = 0;
/** A /proc whose process is in `own`, and the folders of its groups with these files. */
function tree({ mounts, own, files }: { mounts: readonly string[]; own: string; files: Readonly<Record<string, string>> }): {
  proc: string;
  at: string;
} {
  const at = join(root, `tree${trees++}`);
  mkdirSync(join(at, "proc", "self"), { recursive: true });
  writeFileSync(join(at, "proc", "self", "mountinfo"), mounts.map((line) => line.replace("AT", at)).join("\n"));
  writeFileSync(join(at, "proc", "self", "cgroup"), own);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(join(at, file, ".."), { recursive: true });
    writeFileSync(join(at, file), content);
  }
  return { proc: join(at, "proc"), at };
}

const version2 = "30 24 0:26 / AT/unified rw,nosuid - cgroup2 cgroup2 rw";
const enabled = { "cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": "cpu memory pids\n", "cgroup.procs": "" };
const under = (folder: string, files: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content]));

test("In version 2 groups are made in this process's own, and bounded there", () => {
  const { proc, at } = tree({
    mounts: [version2],
    own: "0::/system.slice/kelpie.service\n",
    files: under("unified/system.slice/kelpie.service", enabled),
  });
  const parent = findCgroupParent(proc);
  const folder = join(at, "unified/system.slice/kelpie.service");
  assert.deepEqual(parent, { version: 2, folder });
  assert.ok(!("problem" in parent));
  const cgroup = new Cgroup(parent, "x", { ...defaultBounds, memoryBytes: 100, processes: 10, processors: 0.5 });
  const made = join(folder, `kelpie-${process.pid}-x`);
  const read = (file: string): string => readFileSync(join(made, file), "utf8");
  assert.deepEqual([read("memory.max"), read("cpu.max"), Number(read("pids.max")) > 10], ["100", "50000 100000", true]);
  assert.equal(existsSync(join(made, "memory.swap.max")), false, "a kernel without swap accounting has no such file");
  assert.deepEqual(cgroup.joinFiles, [join(made, "cgroup.procs")]);
  writeFileSync(join(made, "memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
  assert.equal(cgroup.memoryKills(), 2);
});

test("In version 2 a process that is in the group makes way for it to pass controllers on", () => {
  const files = under("unified/own", { ...enabled, "cgroup.subtree_control": "", "cgroup.type": "domain" });
  const { proc, at } = tree({ mounts: [version2], own: "0::/own\n", files });
  assert.deepEqual(findCgroupParent(proc), { version: 2, folder: join(at, "unified/own") });
  assert.equal(readFileSync(join(at, "unified/own/kelpie/cgroup.procs"), "utf8"), "0");
  assert.equal(readFileSync(join(at, "unified/own/cgroup.subtree_control"), "utf8"), "+memory +pids +cpu");
});

test("In version 1 each controller has its own folder, and a container sees a part of it", () => {
  const mounts = ["memory", "pids"].map((name) => `31 24 0:27 /docker/abc AT/${name} rw - cgroup cgroup rw,${name}`);
  const { proc, at } = tree({
    mounts: [...mounts, "32 24 0:28 / AT/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct", version2],
    own: "9:memory:/docker/abc\n8:pids:/docker/abc/deeper\n7:cpu,cpuacct:/\n0::/\n",
    files: {
      "memory/cgroup.procs": "",
      "pids/deeper/cgroup.procs": "",
      "cpu,cpuacct/cgroup.procs": "",
      ...under("unified", { ...enabled, "cgroup.controllers": "hugetlb" }),
    },
  });
  const parent = findCgroupParent(proc);
  assert.deepEqual(parent, {
    version: 1,
    folders: { memory: join(at, "memory"), pids: join(at, "pids/deeper"), cpu: join(at, "cpu,cpuacct") },
  });
  assert.ok(!("problem" in parent));
  const cgroup = new Cgroup(parent, "x", { ...defaultBounds, memoryBytes: 100, processors: 2 });
  const name = `kelpie-${process.pid}-x`;
  assert.equal(readFileSync(join(at, "memory", name, "memory.limit_in_bytes"), "utf8"), "100");
  assert.equal(readFileSync(join(at, "cpu,cpuacct", name, "cpu.cfs_quota_us"), "utf8"), "200000");
  assert.equal(cgroup.joinFiles.length, 3);
});

for (const [title, mounts, own, files, says] of [
  ["there are none", [], "", {}, /version 2 is not writable; version 1 has no writable memory controller/],
  [
    "version 2 lacks a controller",
    [version2],
    "0::/\n",
    under("unified", { ...enabled, "cgroup.controllers": "memory" }),
    /lacks the controllers pids, cpu/,
  ],
  [
    "this process's group is not in what is mounted",
    ["30 24 0:26 /other AT/unified rw - cgroup2 cgroup2 rw"],
    "0::/own\n",
    under("unified", enabled),
    /version 2 is not writable/,
  ],
] as const)
  test(`Where ${title}, it says so`, () => {
    const found = findCgroupParent(tree({ mounts, own, files }).proc);
    assert.ok("problem" in found);
    assert.match(found.problem, says);
  });

test("Groups of processes that are gone are removed, others are not", () => {
  const { at } = tree({ mounts: [], own: "", files: {} });
  const gone = 2 ** 22 + 1; // Above what Linux gives a process.
  for (const name of [`kelpie-${gone}-x`, `kelpie-${process.pid}-x`, "other"]) mkdirSync(join(at, "groups", name), { recursive: true });
  removeStaleCgroups({ version: 2, folder: join(at, "groups") });
  assert.deepEqual(readdirSync(join(at, "groups")).toSorted(), [`kelpie-${process.pid}-x`, "other"].toSorted());
});
