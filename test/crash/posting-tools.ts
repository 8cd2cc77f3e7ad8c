/** The tools of the server under test whose code runs in a sandbox, and posts through the egress proxy to where `World` counts. */
import type { Environment } from "../../src/environment/environment.ts";
import { BubblewrapBackend } from "../../src/sandbox/bubblewrap-backend.ts";
import type { Sandbox } from "../../src/sandbox/sandbox.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { Packages } from "../../src/tools/source/packages.ts";
import { SourceTools } from "../../src/tools/source/source-tools.ts";
import { type SandboxNeeds, ToolSandboxes } from "../../src/tools/source/tool-sandboxes.ts";
import { newTool } from "../../src/tools/tool-record.ts";
import type { OutsideTool } from "../../src/tools/tool.ts";

/** The counter is on this host, where no rule of an owner reaches. */
class NearSandboxes extends ToolSandboxes {
  port = 0;

  override create({ allow, ...needs }: SandboxNeeds): Promise<Sandbox> {
    const rules = (allow ?? []).map((rule) => ({ ...rule, ports: [this.port], privateAddresses: true }));
    return super.create({ ...needs, allow: rules });
  }
}

/** `folder` is for sandboxes; `url` is the counter's. */
export function postingTools(environment: Environment, folder: string, url: string): readonly OutsideTool[] {
  const sandboxes = new NearSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment, folder }) });
  sandboxes.port = Number(new URL(url).port);
  const registryOf = (): never => {
    throw new Error("These tools need no packages");
  };
  const packages = new Packages({ environment, sandboxes, folder, registryOf });
  // No tool of these asks for the agent's state.
  const sources = new SourceTools({ store: new MemoryStore(), environment, sandboxes, packages });
  return (["once", "idempotent"] as const).map((effect) => {
    const name = `post_${effect}`;
    const record = newTool(environment, { source_code: sourceCode(name, url) });
    const declared = effect === "once" ? {} : { effect };
    return sources.tool({ ...record, metadata_: { network_hosts: [new URL(url).hostname], ...declared } })!;
  });
}

function sourceCode(name: string, url: string): string {
  return `
import json, os, urllib.request

def ${name}(task: str) -> str:
    """Counts a call.

    Args:
        task (str): Which.
    """
    # Otherwise the counter would be looked for in the sandbox itself.
    os.environ.update(no_proxy="", NO_PROXY="")
    headers = {"Idempotency-Key": os.environ["KELPIE_EFFECT_ID"]}
    body = json.dumps({"tool": "${name}", "task": task}).encode()
    with urllib.request.urlopen(urllib.request.Request("${url}", body, headers)) as answer:
        return answer.read().decode()
`;
}
