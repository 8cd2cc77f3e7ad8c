import { describe } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";
import { describeSandboxContract } from "./sandbox.contract.ts";
import { bubblewrapMissing } from "./testing.ts";

const environment = new RealEnvironment({ write: () => undefined });

describe("BubblewrapBackend", { skip: bubblewrapMissing ?? false }, () => {
  describeSandboxContract("BubblewrapBackend", { open: () => BubblewrapBackend.open({ environment }) });
});
