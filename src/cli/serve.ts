/** `kelpie serve`: runs the server until it is told to stop, and tells a newcomer what to do next. */
import { type Command, exitCodes, jsonOption, refuseArguments } from "./command.ts";
import type { Program, RunningServer } from "./program.ts";

/** npm passes Ctrl-C on to a process that has already got it from the terminal: both are one wish. */
const sameSignalMilliseconds = 300;
/** What the second signal ends it with. */
const codeAtOnce = { SIGHUP: exitCodes.hungUp, SIGINT: exitCodes.interrupted, SIGTERM: exitCodes.terminated } as const;

export function serveCommand(program: Program): Command {
  return {
    name: "serve",
    summary: "Run the server",
    usage: "[options]",
    description: "runs the server with its store in one file, until Ctrl-C or SIGTERM. A second one stops it at once",
    options: [...program.serveOptions, { ...jsonOption, meaning: "Print one line of JSON when ready, instead of the banner" }],
    examples: [
      "kelpie serve",
      "kelpie serve --port 9000 --data /var/lib/kelpie",
      "OPENAI_API_KEY=… kelpie serve --model openai/gpt-5-mini",
      "KELPIE_API_KEY=… kelpie serve --host 0.0.0.0",
    ],
    async run(input) {
      refuseArguments("serve", input);
      const server = await program.serve(input.values);
      // Before it says that it is ready: whoever waits for that may send a signal at once.
      const stopped = untilStopped(server, program);
      for (const warning of server.warnings) program.terminal.note(program.terminal.style("yellow", `Note: ${warning}`));
      if (input.flags.has("json"))
        program.terminal.line(JSON.stringify({ url: server.url, data: server.data, model: server.model, pid: process.pid }));
      else for (const line of banner(server, program)) program.terminal.line(line);
      return await stopped;
    },
  };
}

async function untilStopped(server: RunningServer, program: Program): Promise<number> {
  using atEnd = new DisposableStack();
  const keepAlive = setInterval(() => {}, 2 ** 30);
  atEnd.defer(() => clearInterval(keepAlive));
  return await new Promise<number>((resolve, reject) => {
    let stoppingSince: number | undefined;
    void server.fenced.then(({ message }) => {
      const next = server.isSupervised ? "" : "; start it again, and it is a new node";
      program.terminal.note(`${program.terminal.style("red", "error:")} ${message}. The others go on with its agents${next}`);
      resolve(exitCodes.fenced);
    });
    const stop = (cause: keyof typeof codeAtOnce): void => {
      if (stoppingSince === undefined) {
        stoppingSince = performance.now();
        const what =
          server.node === undefined
            ? "finishing the steps in progress; runs go on at the next start"
            : "giving its agents to the other nodes";
        program.terminal.note(`${cause}: ${what} (again to stop at once)`);
        server.stop().then(() => resolve(exitCodes.ok), reject);
      } else if (performance.now() - stoppingSince > sameSignalMilliseconds) {
        resolve(codeAtOnce[cause]);
      }
    };
    atEnd.defer(program.onSignal(stop));
    atEnd.defer(program.onHangUp(() => stop("SIGHUP")));
  });
}

function banner(server: RunningServer, { terminal, version }: Program): string[] {
  const bold = (text: string): string => terminal.style("bold", text);
  const dim = (text: string): string => terminal.style("dim", text);
  const isDemo = server.model === "kelpie/demo";
  const authorization = server.hasKey ? ' -H "authorization: Bearer $KELPIE_API_KEY"' : "";
  return [
    "",
    `  ${bold(`Kelpie ${version}`)} is ready at ${bold(server.url)}  ${dim(`(${(server.startMilliseconds / 1000).toFixed(1)} s)`)}`,
    "",
    `  data    ${server.data}`,
    ...(server.node === undefined ? [] : [`  node    ${server.node}`]),
    `  model   ${server.model}${isDemo ? "  (not a language model: a small program that shows how everything works, without a key)" : ""}`,
    ...(isDemo
      ? [`          ${dim("For a real one set OPENAI_API_KEY, ANTHROPIC_API_KEY, OPENROUTER_API_KEY or OLLAMA_BASE_URL, and start again")}`]
      : []),
    `  key     ${server.hasKey ? "required (KELPIE_API_KEY)" : "none: only this machine can reach it"}`,
    "",
    "  Try it, in another terminal:",
    `    ${bold("npm run kelpie -- chat")}`,
    `    curl${authorization} ${server.url}/v1/agents`,
    "",
    "  Letta's clients and letta-code work unchanged:",
    `    LETTA_BASE_URL=${server.url} letta`,
    `    ${dim(`new Letta({ baseURL: "${server.url}" })`)}`,
    "",
    `  ${dim("Ctrl-C stops it; what agents were doing goes on at the next start.")}`,
    "",
  ];
}
