/** `npm run check`: formatting, lint, types, and the tests that need no process of their own. */
import { runParts, runTests, staticParts, unitTests } from "./parts.ts";

const ok = await runParts(staticParts);
process.exitCode = (await runTests(unitTests)) && ok ? 0 : 1;
