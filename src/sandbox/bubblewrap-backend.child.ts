/** A process that has a sandbox with a command in it, for tests of what happens when it is killed. */
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";

const backend = await BubblewrapBackend.open({ environment: new RealEnvironment({ write: () => undefined }), folder: process.argv[2]! });
const sandbox = await backend.create({ isolation: "process" });
// It leaves its group, its session and its parent, and ignores what can be ignored.
const script = `trap '' TERM HUP INT; setsid sh -c 'trap "" TERM HUP INT; echo running >started; while :; do date +%s%N >beat; done' & wait`;
const running = await sandbox.start({ program: "/bin/sh", arguments: ["-c", script] });
for await (const { bytes } of running.output) process.stderr.write(bytes);
