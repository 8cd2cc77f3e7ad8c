/** For tests that need bubblewrap: whether this machine lets it run. */
import { findBubblewrap } from "./bubblewrap-host.ts";

const host = await findBubblewrap();

/** Why tests of sandboxed processes are skipped here; undefined where they run. */
export const bubblewrapMissing: string | undefined = "problem" in host ? host.problem : undefined;
