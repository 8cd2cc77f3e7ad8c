/**
 * What it costs to forward a call to another node: Kelpie's frames beside `node:http2`.
 *
 *     npm run bench:transport [-- --json] [-- --seconds 2 --rounds 5 --inFlight 64]
 */
import { encodeWire } from "../src/cluster/wire.ts";
import { readArguments } from "./lib/arguments.ts";
import { printReport } from "./lib/report.ts";
import { cheaper, comparisonTable, TransportComparison } from "./lib/transport/compare.ts";
import { message } from "./lib/transport/forward.ts";

const { json, numbers } = readArguments("Usage: npm run bench:transport -- [--json] [--seconds N] [--rounds N] [--inFlight N]", {
  seconds: 2,
  rounds: 5,
  inFlight: 64,
});

const begin = performance.now();
await using comparison = await TransportComparison.start();
const alone = await comparison.measure({ ...numbers, inFlight: 1 });
const together = await comparison.measure(numbers);

printReport(
  {
    bench: "Transport: a call forwarded from node to node",
    method: [
      `Two processes over loopback, one connection; a message of ${encodeWire(message, 1e6).length} bytes, echoed. ${numbers.rounds} rounds of ${numbers.seconds} s,`,
      "frames and HTTP/2 in turn within each round; the median of the rounds.",
      "frames: TcpTransport with a secret, as in a cluster: deadlines, limits, pings. http2: bare node:http2, a stream a call.",
      "Both write and read the same MessagePack. CPU is that of both processes together.",
    ],
    versions: {},
    tables: [comparisonTable(`${numbers.inFlight} calls in flight`, together), comparisonTable("1 call at a time", alone)],
    targets: [
      { what: `CPU of http2 / CPU of frames, ${numbers.inFlight} in flight`, measured: cheaper(together), unit: "times", atLeast: 3 },
    ],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);
