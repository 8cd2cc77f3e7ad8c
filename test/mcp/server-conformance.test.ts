/** The server part of `npm run test:mcp-conformance`, which runs the rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, reasons, revisions, testServer } from "./conformance-suite.ts";

for (const revision of revisions)
  test(`Kelpie's MCP server conforms to ${revision}, but for what there is a reason for`, async (t) => {
    const { isGood, text } = judge(`MCP server conformance, ${revision}`, await testServer(revision), reasons.server[revision]);
    t.diagnostic(text.split("\n")[0]!);
    assert.ok(isGood, text);
  });
