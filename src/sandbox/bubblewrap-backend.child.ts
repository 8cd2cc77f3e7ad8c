/** A process that has a sandbox with a command in it, for tests of what happens when it is killed: a folder, and a mark. */
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";

const [folder, mark] = process.argv.slice(2) as [string, string];
const backend = await BubblewrapBackend.open({ environment: new RealEnvironment({ write: () => undefined }), folder });
const sandbox = await backend.create({ isolation: "process" });
// What it starts leaves its group, its session and its parent, and ignores what can be ignored.
const daemon = `: ${mark}; trap "" TERM HUP INT; echo running; while :; do sleep 1; done`;
const script = `: ${mark}; trap '' TERM HUP INT; setsid sh -c '${daemon}' & wait`;
const running = await sandbox.start({ program: "/bin/sh", arguments: ["-c", script] });
for await (const { bytes } of running.output) process.stdout.write(bytes);
