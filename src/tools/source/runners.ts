/**
 * What runs inside the sandbox around a tool's code: it calls the function and leaves the outcome in `outcome.json`, so that
 * what the code prints is no part of it. `call.json` has the name, the arguments, and the agent's state if it is asked for.
 *
 * The code that is run may write that file as well: it is the outcome of that code and nobody else's.
 */
import type { Json } from "../../base/json.ts";
import type { AgentState, BlockValues } from "./agent-state.ts";

export interface Runner {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly files: Readonly<Record<string, string>>;
}

/** What `call.json` holds. */
export interface RunnerCall {
  readonly name: string;
  readonly arguments: { readonly [name: string]: Json | undefined };
  readonly agentState?: AgentState;
}

/** What `outcome.json` holds. */
export interface Outcome {
  readonly value?: Json;
  readonly error?: string;
  /** Those of `agentState`, as the tool has left them. */
  readonly blocks?: BlockValues;
}

/** The Node that runs Kelpie, as a sandbox has it. */
export const node: Pick<Runner, "program" | "arguments"> = { program: "node", arguments: ["--disable-warning=ExperimentalWarning"] };

export function pythonRunner(source: string): Runner {
  return { program: "python3", arguments: ["-B", "run.py"], files: { "tool.py": source, "run.py": python } };
}

/** `name` is that of the function, `parameters` its parameters in their order. */
export function typescriptRunner(source: string, name: string, parameters: readonly string[]): Runner {
  const run = typescript.replace("PARAMETERS", () => JSON.stringify(parameters));
  return {
    ...node,
    arguments: [...node.arguments, "run.mts"],
    // The function is found whether or not the source exports it.
    files: { "tool.mts": `${source}\nexport { ${name} as kelpieTool };\n`, "run.mts": run },
  };
}

/** What runs a piece of code as it is; undefined for a language that does not run here. */
export function codeRunner(language: string, code: string): Runner | undefined {
  if (language === "python") return { program: "python3", arguments: ["-B", "code.py"], files: { "code.py": code } };
  const name = { js: "code.mjs", javascript: "code.mjs", ts: "code.mts", typescript: "code.mts" }[language];
  if (name === undefined) return undefined;
  return { ...node, arguments: [...node.arguments, name], files: { [name]: code } };
}

/** asyncio alone takes longer to import than all else together, so what few calls need is imported there. */
const python = `import json

class Block:
    def __init__(self, fields):
        self.__dict__.update(fields)

class Memory:
    def __init__(self, blocks):
        self.blocks = [Block(each) for each in blocks]
    def get_blocks(self):
        return self.blocks
    def list_block_labels(self):
        return [block.label for block in self.blocks]
    def get_block(self, label):
        for block in self.blocks:
            if block.label == label:
                return block
        raise KeyError("Block field " + str(label) + " does not exist (available sections = " + ", ".join(self.list_block_labels()) + ")")
    def update_block_value(self, label, value):
        if not isinstance(value, str):
            raise ValueError("Provided value must be a string")
        self.get_block(label).value = value

class AgentState:
    def __init__(self, fields):
        self.memory = Memory(fields.pop("blocks"))
        self.blocks = self.memory.blocks
        self.__dict__.update(fields)

def asks_for(name, tool):
    import inspect
    return name in inspect.signature(tool).parameters

def letta_client():
    import os
    key, base = os.environ.get("LETTA_API_KEY"), os.environ.get("LETTA_BASE_URL")
    if not key:
        return None
    try:
        from letta_client import Letta
    except ImportError:
        return None
    where = {"base_url": base} if base else {}
    try:
        return Letta(api_key=key, **where)
    except TypeError:
        return Letta(token=key, **where) # Before 1.0.

async def awaited(value):
    return await value

def main():
    with open("call.json") as file:
        call = json.load(file)
    outcome = {}
    try:
        with open("tool.py") as file:
            source = file.read()
        code = compile(source, "tool.py", "exec")
        client = letta_client() if "client" in source else None
        names = {"__name__": "tool", "__file__": "tool.py", "AgentState": AgentState, "client": client}
        exec(code, names)
        tool = names.get(call["name"])
        if not callable(tool):
            raise NameError("The source code has no function " + call["name"])
        arguments = call["arguments"]
        state = None
        if client is not None and asks_for("client", tool):
            arguments["client"] = client
        if "agent_state" in source and asks_for("agent_state", tool):
            if "agentState" not in call:
                raise ValueError(call["name"] + " asks for agent_state, and is not called by an agent")
            state = arguments["agent_state"] = AgentState(call["agentState"])
        value = tool(**arguments)
        if hasattr(type(value), "__await__"):
            import asyncio
            value = asyncio.run(awaited(value))
        try:
            outcome["value"] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            outcome["value"] = str(value)
        if state is not None:
            outcome["blocks"] = {block.label: str(block.value) for block in state.memory.blocks}
    except BaseException as error:
        import traceback
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        own = [line for line in lines if "run.py" not in line.split("\\n")[0]]
        outcome = {"error": "".join(own).strip()}
    with open("outcome.json", "w") as file:
        json.dump(outcome, file)

main()
`;

const typescript = `import { readFileSync, writeFileSync } from "node:fs";

async function lettaClient() {
  const { LETTA_API_KEY: apiKey } = process.env;
  if (apiKey === undefined || !readFileSync("tool.mts", "utf8").includes("client")) return null;
  try {
    const { default: Letta } = await import("@letta-ai/letta-client");
    return new Letta({ apiKey });
  } catch (error) {
    if (error.code === "ERR_MODULE_NOT_FOUND") return null;
    throw error;
  }
}

let outcome: string;
try {
  const call = JSON.parse(readFileSync("call.json", "utf8"));
  globalThis.client = await lettaClient();
  const { kelpieTool } = await import(new URL("tool.mts", import.meta.url).href);
  if (typeof kelpieTool !== "function") throw new TypeError("It is no function: " + call.name);
  const value = await kelpieTool(...PARAMETERS.map((name: string) => call.arguments[name]));
  outcome = JSON.stringify({ value: value === undefined ? null : value });
} catch (error) {
  outcome = JSON.stringify({ error: error instanceof Error ? (error.stack ?? String(error)) : String(error) });
}
writeFileSync("outcome.json", outcome);
// What the code left running is of no more use.
process.exit(0);
`;
