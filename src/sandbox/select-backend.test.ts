import assert from "node:assert/strict";
import { test } from "node:test";
import { type BackendInfo, isolations, type Isolation } from "./sandbox.ts";
import { type Candidate, selectBackend } from "./select-backend.ts";

interface Fake {
  readonly info: BackendInfo;
}

function there(name: string, isolation: Isolation): Candidate<Fake> {
  const capabilities = { isolation } as BackendInfo["capabilities"];
  return { name, backend: { info: { name, version: "1", capabilities, weaknesses: [] } } };
}
const missing: Candidate<Fake> = { name: "gvisor", problem: "runsc is not installed" };

for (const [asked, candidates, chosen] of [
  ["process", [there("process", "process")], "process"],
  ["process", [missing, there("process", "process"), there("unisolated", "none")], "process"],
  ["process", [there("qemu", "vm"), there("process", "process")], "qemu"],
  ["syscall", [there("process", "process"), there("qemu", "vm")], "qemu"],
  ["none", [there("unisolated", "none")], "unisolated"],
] as const)
  test(`Of ${candidates.map(({ name }) => name).join(", ")}, code that asks for ${asked} gets ${chosen}`, () => {
    assert.equal(selectBackend(candidates, asked).info.name, chosen);
  });

for (const asked of isolations.slice(1))
  test(`Code that asks for ${asked} is refused where only a plain process is allowed, and is told why (I8)`, () => {
    assert.throws(() => selectBackend([missing, there("unisolated", "none")], asked), {
      name: "IsolationError",
      message: `Cannot run code that asks for the isolation "${asked}": gvisor: runsc is not installed; unisolated isolates by "none" only`,
    });
  });
