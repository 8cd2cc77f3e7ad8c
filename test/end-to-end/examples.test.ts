/** Every example checks itself; here they run. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const folder = join(import.meta.dirname, "..", "..", "examples");
/** Parts of examples, which do nothing by themselves. */
const parts: readonly string[] = ["start-server.ts"];
const examples = readdirSync(folder).filter((file) => file.endsWith(".ts") && !parts.includes(file));

test("There are examples", () => assert.ok(examples.includes("letta-client.ts")));

for (const example of examples)
  test(`examples/${example} runs and finds everything right`, async () => {
    const outcome = await new Promise<{ readonly code: unknown; readonly output: string }>((resolve) =>
      execFile(process.execPath, [join(folder, example)], { timeout: 120_000 }, (error, stdout, stderr) =>
        resolve({ code: error?.code ?? error?.signal ?? 0, output: stdout + stderr }),
      ),
    );
    assert.equal(outcome.code, 0, outcome.output);
  });
