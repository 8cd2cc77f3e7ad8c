/**
 * `npm test`: formatting, lint and types, then every test. With arguments (`npm test -- storage`) only the test files
 * whose path contains one of them, and nothing else.
 */
import { allTests, runParts, runTests, staticParts } from "./parts.ts";

const filters = process.argv.slice(2);
const ok = filters.length > 0 || (await runParts(staticParts));
const passed = await runTests(allTests, filters);
process.exitCode = passed && ok ? 0 : 1;
