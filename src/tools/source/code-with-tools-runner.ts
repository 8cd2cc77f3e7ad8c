/** What stands around code that calls tools: `tools` and `ToolError`, over lines of standard input and output (call-lines.ts). */
import { callMark } from "./call-lines.ts";
import { node, type Runner } from "./runners.ts";

/** Undefined for a language that does not run here. */
export function codeWithToolsRunner(language: string, code: string): Runner | undefined {
  if (language === "python") return { program: "python3", arguments: ["-B", "run.py"], files: { "code.py": code, "run.py": python } };
  const name = { js: "code.mjs", javascript: "code.mjs", ts: "code.mts", typescript: "code.mts" }[language];
  if (name === undefined) return undefined;
  const files = { [name]: code, "run.mjs": javascript.replace("CODE", () => JSON.stringify(`./${name}`)) };
  return { ...node, arguments: [...node.arguments, "run.mjs"], files };
}

const mark = JSON.stringify(callMark);

const python = `import json, os, sys, threading, traceback

class ToolError(Exception):
    """A tool has failed; the text says why."""

class Tools:
    def __init__(self):
        self._lock = threading.Lock()
        self._process = os.getpid()
        # What the code reads and prints is kept apart from what is said here.
        self._answers = os.fdopen(os.dup(0), encoding="utf-8")
        self._calls = os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]
    def __getitem__(self, name):
        def call(**arguments):
            return self._call(name, arguments)
        call.__name__ = name
        return call
    def _call(self, name, arguments):
        if os.getpid() != self._process:
            raise ToolError("Only the first process calls tools, not one that was forked")
        line = json.dumps({"name": name, "arguments": arguments}, allow_nan=False)
        with self._lock:
            sys.stdout.flush()
            self._send(("\\n" + ${mark} + line + "\\n").encode())
            answer = self._answers.readline()
        if not answer:
            raise ToolError("There is nobody to call any more")
        result = json.loads(answer)
        if result["status"] != "success":
            raise ToolError(result["text"])
        return result["text"]
    def _send(self, line):
        while line:
            line = line[os.write(self._calls, line):]

def main():
    names = {"__name__": "__main__", "__file__": "code.py", "tools": Tools(), "ToolError": ToolError}
    try:
        with open("code.py", encoding="utf-8") as file:
            code = compile(file.read(), "code.py", "exec")
        exec(code, names)
    except Exception as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        sys.stdout.flush()
        print("".join(line for line in lines if "run.py" not in line.split("\\n")[0]), end="", file=sys.stderr)
        sys.exit(1)

main()
`;

const javascript = `const waiting = new Map();
let count = 0;
let received = "";

globalThis.ToolError = class ToolError extends Error {
  name = "ToolError";
};

process.stdin.setEncoding("utf8");
process.stdin.on("data", (text) => {
  const lines = (received + text).split("\\n");
  received = lines.pop();
  for (const line of lines) {
    const { id, status, text } = JSON.parse(line);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    // Code that waits for nothing ends.
    if (waiting.size === 0) process.stdin.unref();
    if (status === "success") resolve(text);
    else reject(new ToolError(text));
  }
});
process.stdin.unref();

const call = (name) => (input = {}) => {
  const id = ++count;
  const line = JSON.stringify({ id, name, arguments: input });
  const { promise, resolve, reject } = Promise.withResolvers();
  waiting.set(id, { resolve, reject });
  process.stdin.ref();
  process.stdout.write("\\n" + ${mark} + line + "\\n");
  return promise;
};

globalThis.tools = new Proxy({}, { get: (_, name) => (typeof name === "symbol" || name === "then" ? undefined : call(name)) });

await import(CODE);
`;
