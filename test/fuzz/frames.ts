/**
 * `npm run test:fuzz -- --frames 200000 --seed 1`: malformed frames against a node that serves good peers meanwhile.
 *
 * Ends with an error if the node crashes, if a good peer is not served, or if the node's memory grows without a bound.
 */
import { countOf, readOptions } from "../../scripts/options.ts";
import { fuzzFrames } from "./fuzz-frames.ts";
import { memoryMegabytesMax } from "./limits.ts";

const command = "npm run test:fuzz --";
const { values } = readOptions({
  command,
  help: `${command} [--frames 200000] [--seed 1]\n\nSends malformed frames to a node while good peers use it. Exit code 1 if it crashes, grows or does not serve them.\n`,
  options: { frames: { type: "string", default: "200000" }, seed: { type: "string", default: "1" } },
});
const [frames, seed] = [countOf(command, "frames", values.frames), countOf(command, "seed", values.seed)];

const begin = performance.now();
let shown = 0;
const outcome = await fuzzFrames({
  frames,
  seed,
  onProgress: (sent) => {
    if (sent - shown < 20_000) return;
    shown = sent;
    process.stderr.write(`${sent.toLocaleString("en-US")} frames\n`);
  },
});
const { first, half, last, most } = outcome.memory;
console.log(
  `seed ${seed}: ${outcome.frames.toLocaleString("en-US")} malformed frames (${Math.round(outcome.bytes / 1_048_576)} MB) in ${outcome.connections.toLocaleString("en-US")} connections, ${outcome.joined.toLocaleString("en-US")} of them after a hello`,
);
console.log(
  `0 crashes; ${outcome.goodPeers.toLocaleString("en-US")} good peers made ${outcome.goodCalls.toLocaleString("en-US")} calls meanwhile, all answered rightly`,
);
console.log(
  `memory of the node: ${Math.round(first)} MB at first, ${Math.round(half)} half way, ${Math.round(last)} at the end, ${Math.round(most)} at most`,
);
console.log(`took ${((performance.now() - begin) / 1_000).toFixed(0)} s`);
if (most > memoryMegabytesMax) {
  console.log(`That is more than ${memoryMegabytesMax} MB`);
  process.exitCode = 1;
}
