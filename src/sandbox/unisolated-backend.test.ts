import { RealEnvironment } from "../environment/real-environment.ts";
import { describeSandboxContract } from "./sandbox.contract.ts";
import { UnisolatedBackend } from "./unisolated-backend.ts";

describeSandboxContract("UnisolatedBackend", {
  open: () => Promise.resolve(new UnisolatedBackend({ environment: new RealEnvironment({ write: () => undefined }) })),
});
