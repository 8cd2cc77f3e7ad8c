/**
 * What runs inside the sandbox around a tool's code: it calls the function and leaves the outcome in `outcome.json`, so that
 * what the code prints is no part of it. `call.json` has the name and the arguments.
 *
 * The code that is run may write that file as well: it is the outcome of that code and nobody else's.
 */
export interface Runner {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly files: Readonly<Record<string, string>>;
}

/** Where the sandbox has the Node that runs Kelpie. */
export const nodeTarget = "/opt/kelpie/node";

export function pythonRunner(source: string): Runner {
  return { program: "python3", arguments: ["-B", "run.py"], files: { "tool.py": source, "run.py": python } };
}

/** `name` is that of the function, `parameters` its parameters in their order. */
export function typescriptRunner(source: string, name: string, parameters: readonly string[]): Runner {
  const run = typescript.replace("PARAMETERS", JSON.stringify(parameters));
  return {
    program: nodeTarget,
    arguments: ["--disable-warning=ExperimentalWarning", "run.mts"],
    // The function is found whether or not the source exports it.
    files: { "tool.mts": `${source}\nexport { ${name} as kelpieTool };\n`, "run.mts": run },
  };
}

const python = `import asyncio, inspect, json, sys, traceback

def main():
    with open("call.json") as file:
        call = json.load(file)
    try:
        with open("tool.py") as file:
            code = compile(file.read(), "tool.py", "exec")
        names = {"__name__": "tool", "__file__": "tool.py"}
        exec(code, names)
        tool = names.get(call["name"])
        if not callable(tool):
            raise NameError("The source code has no function " + call["name"])
        value = tool(**call["arguments"])
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        try:
            outcome = {"value": json.loads(json.dumps(value, allow_nan=False))}
        except (TypeError, ValueError):
            outcome = {"value": str(value)}
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        own = [line for line in lines if '"run.py"' not in line.split("\\n")[0] and "/run.py" not in line.split("\\n")[0]]
        outcome = {"error": "".join(own).strip()}
    with open("outcome.json", "w") as file:
        json.dump(outcome, file)

main()
`;

const typescript = `import { readFileSync, writeFileSync } from "node:fs";

let outcome: object;
try {
  const call = JSON.parse(readFileSync("call.json", "utf8"));
  const { kelpieTool } = await import(new URL("tool.mts", import.meta.url).href);
  if (typeof kelpieTool !== "function") throw new TypeError("It is no function: " + call.name);
  const value = await kelpieTool(...PARAMETERS.map((name: string) => call.arguments[name]));
  outcome = { value: value === undefined ? null : value };
  JSON.stringify(outcome);
} catch (error) {
  outcome = { error: error instanceof Error ? (error.stack ?? String(error)) : String(error) };
}
writeFileSync("outcome.json", JSON.stringify(outcome));
// What the code left running is of no more use.
process.exit(0);
`;
