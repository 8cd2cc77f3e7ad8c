import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { configurationPage, pagePath } from "../scripts/configuration-page.ts";

test("docs/reference/configuration.md says what src/config.ts does (npm run configuration-page writes it)", () => {
  assert.equal(readFileSync(pagePath, "utf8"), configurationPage());
});
