import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeJson } from "../../base/json.ts";
import { encodeTuple } from "../../base/tuple.ts";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { transact } from "../../storage/transaction.ts";
import { InvalidSkillError, readSkillHead } from "./skill-file.ts";
import { deleteSkills, putSkill, readSkillFile, readSkills, removeSkill, skillLimits, SkillNotFoundError, skillsMax } from "./skills.ts";

const environment = new RealEnvironment();
const owner = { project: "default", agentId: "agent-1" };
const skill = (name: string): string => `---\nname: ${name}\ndescription: Does it.\n---\nDo it.\n`;

for (const [description, text] of [
  ["Plain text: with a colon", "Plain text: with a colon"],
  ["Plain # a remark", "Plain"],
  ['"Quoted \\"so\\"" # a remark', 'Quoted "so"'],
  ["'It''s'", "It's"],
  [">-\n  folded\n  line\n\n  new", "folded line\nnew"],
  ["|\n  one\n  two", "one\ntwo"],
  ["begun\n  and gone on", "begun and gone on"],
  ["é".repeat(1_024), "é".repeat(1_024)],
] as const)
  test(`The description ${JSON.stringify(description).slice(0, 50)} is read as YAML has it`, () => {
    const head = `---\r\nlicense: MIT\nmetadata:\n  author: x\n  name: y\nname: a-b2\ndescription: ${description}\nallowed-tools:\n- Read\n---\n`;
    assert.deepEqual(readSkillHead(Buffer.from(head)), { name: "a-b2", description: text });
  });

for (const [bytes, says] of [
  ["", /begin with a line of ---/],
  ["# A skill", /begin with a line of ---/],
  ["---\nname: x\n", /not ended/],
  [Buffer.from([0xff, 0xfe]), /not UTF-8/],
  ["---\ndescription: x\n---\n", /has no name/],
  ["---\nname: x\n---\n", /has no description/],
  ["---\nname: x\ndescription: ''\n---\n", /has no description/],
  ["---\nname: x\ndescription: []\n---\n", /put it in quotes/],
  ['---\nname: x\ndescription: "open\n---\n', /not ended/],
  ["---\nname: x\nname: y\ndescription: x\n---\n", /field name twice/],
  ["---\nname: x\nnonsense\n---\n", /no field: "nonsense"/],
  [`---\nname: x\ndescription: ${"é".repeat(1_025)}\n---\n`, /1025 characters, and at most 1024/],
  ...["X", "-x", "x-", "x--y", "x y", "x/y", "..", "é", "x".repeat(65)].map((name) => [skill(name), /no name of a skill/] as const),
] as const)
  test(`The head ${JSON.stringify(bytes.toString()).slice(0, 50)} is refused`, () => {
    assert.throws(
      () => readSkillHead(Buffer.from(bytes)),
      (error) => error instanceof InvalidSkillError && says.test(error.message),
    );
  });

test("Whatever the file is, it is read or refused in words", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("---\n", "name: ", "description: ", "x", "\n", " ", '"', "'", ">-\n", "- ", "\\", "#")),
      (parts) => {
        try {
          readSkillHead(Buffer.from(`---\n${parts.join("")}\n---\n`));
        } catch (error) {
          assert.ok(error instanceof InvalidSkillError, String(error));
        }
      },
    ),
  );
});

async function storeWithAgent(): Promise<{ readonly store: MemoryStore; readonly environment: RealEnvironment }> {
  const store = new MemoryStore();
  const writes = [{ kind: "set", key: encodeTuple(["default", "agent", "agent-1"]), value: encodeJson({ id: "agent-1" }) }] as const;
  await store.commit({ id: "agent", checks: [], writes });
  return { store, environment };
}

const files = (...given: readonly (readonly [string, string])[]): (readonly [string, Uint8Array])[] =>
  given.map(([path, text]) => [path, Buffer.from(text)] as const);

test("A skill is put, replaced whole and removed, and nothing of it is left", async () => {
  const parts = await storeWithAgent();
  await putSkill(parts, owner, files(["SKILL.md", skill("x")], ["old.txt", "old"]));
  await putSkill(parts, owner, files(["SKILL.md", skill("x")], ["new.txt", "new"]));
  assert.deepEqual((await readSkillFile(parts.store, owner, "x", "SKILL.md")).paths, ["SKILL.md", "new.txt"]);
  assert.deepEqual(
    (await readSkills(parts.store, owner)).map(({ name, files: count }) => [name, count]),
    [["x", 2]],
  );
  await removeSkill(parts, owner, "x");
  await assert.rejects(removeSkill(parts, owner, "x"), SkillNotFoundError);
  await putSkill(parts, owner, files(["SKILL.md", skill("y")]));
  await transact(parts.store, environment, async (transaction) => deleteSkills(transaction, owner.project, owner.agentId));
  for (const kind of ["skill", "skill.files"])
    assert.deepEqual(await transact(parts.store, environment, (transaction) => transaction.list(["default", kind], { limit: 10 })), []);
});

for (const [what, given, says] of [
  ["without SKILL.md", files(["skill.md", skill("x")]), /has a file SKILL.md/],
  ["with a path that leads out", files(["SKILL.md", skill("x")], ["../x", ""]), /leads out/],
  ["with an absolute path", files(["SKILL.md", skill("x")], ["/etc/passwd", ""]), /without a slash/],
  ["with a file twice", files(["SKILL.md", skill("x")], ["a", ""], ["./a", ""]), /twice/],
  ["with a file that is a folder too", files(["SKILL.md", skill("x")], ["a", ""], ["a/b", ""]), /a is a file, no folder/],
  ["with a file that is too large", files(["SKILL.md", skill("x")], ["big", "x".repeat(skillLimits.fileBytes + 1)]), /big has/],
  ["with too many files", files(["SKILL.md", skill("x")], ...Array.from({ length: 200 }, (_, at) => [`f${at}`, ""] as const)), /201 files/],
] as const)
  test(`A skill ${what} is refused, and nothing is written`, async () => {
    const parts = await storeWithAgent();
    await assert.rejects(putSkill(parts, owner, given), (error) => error instanceof InvalidSkillError && says.test(error.message));
    assert.deepEqual(await readSkills(parts.store, owner), []);
  });

test("An agent has no more skills than the limit, and may replace one of them", async () => {
  const parts = await storeWithAgent();
  for (let index = 0; index < skillsMax; index++) await putSkill(parts, owner, files(["SKILL.md", skill(`x${index}`)]));
  await assert.rejects(putSkill(parts, owner, files(["SKILL.md", skill("y")])), /may have no more/);
  await putSkill(parts, owner, files(["SKILL.md", skill("x0")]));
});
