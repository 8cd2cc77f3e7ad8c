/** `kelpie chat`: a conversation with an agent, in a terminal or from a script. */
import { randomUUID } from "node:crypto";
import { createInterface, type Interface } from "node:readline";
import { createAgent } from "./agents.ts";
import { type ApiClient, ApiError } from "./api-client.ts";
import { type Command, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import { followRun } from "./follow-run.ts";
import type { Program } from "./program.ts";
import { type AgentSummary, clientFor, findAgent } from "./remote.ts";
import { RunView } from "./run-view.ts";
import { printable, Terminal } from "./terminal.ts";

/** Marks the agent that `kelpie chat` comes back to when none is named. */
const chatTag = "kelpie-chat";

export const chatCommand: Command = {
  name: "chat",
  summary: "Talk to an agent",
  usage: "[options]   (with piped input, each line is a message)",
  description: "talks to an agent of a running Kelpie: the one of your last chat, or a new one",
  options: [
    { name: "agent", value: "id|name", meaning: "The agent to talk to" },
    { name: "new", meaning: "Make a new agent" },
    { name: "model", value: "handle", meaning: "The model of a new agent, such as openai/gpt-5-mini" },
    { name: "message", short: "m", value: "text", meaning: "Send this one message, show the answer, and end" },
    serverOption,
    { ...jsonOption, meaning: "Print the events of each run as lines of JSON" },
  ],
  examples: [
    "kelpie chat",
    "kelpie chat --agent Ada",
    'kelpie chat -m "Remember that my name is Ada"',
    "kelpie chat --json < questions.txt",
  ],
  async run(input, program) {
    if (input.positionals.length > 0)
      throw new UsageError(`kelpie chat takes no argument: kelpie chat --message ${JSON.stringify(input.positionals.join(" "))}`);
    if (input.values.has("agent") && (input.flags.has("new") || input.values.has("model")))
      throw new UsageError("--agent names an agent that exists; --new and --model are for a new one");
    const client = clientFor(input, program);
    const agent = await chooseAgent(client, input);
    const chat = new Chat(client, agent, program, input.flags.has("json"));
    const message = input.values.get("message");
    return message === undefined ? await chat.converse() : await chat.once(message);
  },
};

async function chooseAgent(client: ApiClient, input: CommandInput): Promise<AgentSummary> {
  const named = input.values.get("agent");
  if (named !== undefined) return await findAgent(client, named);
  const model = input.values.get("model");
  if (!input.flags.has("new") && model === undefined) {
    const known = await client.request<AgentSummary[]>("GET", "/v1/agents", { query: { tags: chatTag, limit: 1 } });
    if (known[0] !== undefined) return known[0];
  }
  return await createAgent(client, { name: "Kelpie", tags: [chatTag], ...(model === undefined ? {} : { model }) });
}

class Chat {
  readonly #client: ApiClient;
  readonly #agent: AgentSummary;
  readonly #program: Program;
  readonly #isJson: boolean;
  #running: { readonly cancel: () => void } | undefined;

  constructor(client: ApiClient, agent: AgentSummary, program: Program, isJson: boolean) {
    this.#client = client;
    this.#agent = agent;
    this.#program = program;
    this.#isJson = isJson;
  }

  async once(text: string): Promise<number> {
    const forget = this.#program.onSignal(() => this.#running?.cancel());
    try {
      return await this.#send(text, undefined);
    } finally {
      forget();
    }
  }

  /** Reads messages until the input ends: from a person with a prompt, from a pipe without. */
  async converse(): Promise<number> {
    const { terminal, input } = this.#program;
    const isInteractive = input.isTTY === true && !this.#isJson;
    // The line editor writes to the terminal itself; a pipe is only split into lines.
    const lines = createInterface(
      isInteractive ? { input, output: process.stdout, prompt: terminal.style("bold", "you> ") } : { input, terminal: false },
    );
    if (isInteractive) this.#greet();
    let isInterrupted = false;
    const interrupt = (): void => {
      if (this.#running === undefined) {
        isInterrupted = true;
        lines.close();
      } else this.#running.cancel();
    };
    lines.on("SIGINT", interrupt);
    const forget = this.#program.onSignal(interrupt);
    let exitCode: number = exitCodes.ok;
    try {
      if (isInteractive) lines.prompt();
      for await (const line of lines) {
        const text = line.trim();
        if (text === "/quit" || text === "/exit") break;
        if (text !== "") {
          const outcome = await this.#send(text, isInteractive ? lines : undefined);
          // A script should learn that something failed; a person has seen it and goes on.
          if (!isInteractive && outcome !== exitCodes.ok) exitCode = outcome;
        }
        if (isInteractive) lines.prompt();
      }
      if (isInteractive) terminal.line();
      return isInterrupted && !isInteractive ? exitCodes.interrupted : exitCode;
    } finally {
      forget();
      lines.close();
    }
  }

  #greet(): void {
    const { terminal } = this.#program;
    terminal.line(
      terminal.style(
        "dim",
        `Talking to ${printable(this.#agent.name)} (${this.#agent.id}), model ${this.#agent.model ?? "default"}, at ${this.#client.url}`,
      ),
    );
    terminal.line(terminal.style("dim", "Ctrl-C cancels an answer, Ctrl-D ends the chat; the agent keeps what it learned."));
    if (this.#agent.model === "kelpie/demo")
      terminal.line(terminal.style("dim", "This is the demo model. Try: Remember that my name is Ada · What is my name? · Search for Ada"));
  }

  async #send(text: string, person: Interface | undefined): Promise<number> {
    let messages: readonly unknown[] = [{ role: "user", content: text, otid: randomUUID() }];
    for (;;) {
      const view = new RunView(this.#isJson ? Terminal.silent() : this.#program.terminal);
      const outcome = await this.#follow(messages, view);
      if (view.stopReason !== "requires_approval" || outcome !== exitCodes.ok) return outcome;
      if (person === undefined) {
        this.#program.terminal.note(`The agent waits for approval of ${view.pendingApprovals.length} tool call(s)`);
        this.#program.terminal.note(this.#approvalHint);
        return exitCodes.failed;
      }
      const approvals = [];
      for (const id of view.pendingApprovals)
        approvals.push({ type: "approval", tool_call_id: id, approve: await confirm(person, `${view.describeCall(id)}\nLet it? [y/N] `) });
      messages = [{ type: "approval", approvals, approval_request_id: view.approvalRequestId, otid: randomUUID() }];
    }
  }

  get #approvalHint(): string {
    return `kelpie approvals list --agent ${this.#agent.id} shows what to approve or deny`;
  }

  async #follow(messages: readonly unknown[], view: RunView): Promise<number> {
    const { terminal } = this.#program;
    const stop = new AbortController();
    let isCancelled = false;
    this.#running = {
      cancel: () => {
        if (isCancelled) return stop.abort();
        isCancelled = true;
        view.notice("(cancelling; again to leave at once)");
        // The end of the run comes through its stream, with the reason.
        this.#client
          .request("POST", `/v1/agents/${this.#agent.id}/messages/cancel`, { body: {} })
          .catch((error: unknown) => view.notice(`(could not cancel: ${error instanceof Error ? error.message : String(error)})`));
      },
    };
    const onConnection = (state: "lost" | "back"): void => {
      const text = state === "lost" ? "(connection lost; waiting for the server)" : "(connected again; the answer goes on)";
      if (this.#isJson) terminal.note(text);
      else view.notice(text);
    };
    const start = {
      path: "/v1/conversations/default/messages",
      body: { agent_id: this.#agent.id, messages, streaming: true, stream_tokens: true, background: true, include_pings: true },
    };
    try {
      for await (const message of followRun(this.#client, { start, onConnection, signal: stop.signal })) {
        if (this.#isJson) terminal.line(JSON.stringify(message));
        view.show(message);
      }
      return view.failed ? exitCodes.failed : exitCodes.ok;
    } catch (error) {
      if (stop.signal.aborted) return exitCodes.interrupted;
      if (!(error instanceof ApiError)) throw error;
      terminal.note(`${terminal.style("red", "error:")} ${error.message}`);
      if (error.status === 409 && /approv/i.test(error.message)) terminal.note(this.#approvalHint);
      return exitCodes.failed;
    } finally {
      view.end();
      this.#running = undefined;
    }
  }
}

function confirm(person: Interface, question: string): Promise<boolean> {
  return new Promise((resolve) => person.question(question, (answer) => resolve(/^y(es)?$/i.test(answer.trim()))));
}
