/** What every sandbox must do (X1 to X6 of `sandbox.ts`), as far as its capabilities claim it: one suite for each backend. */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { runCommand } from "./run-command.ts";
import {
  type Capabilities,
  type Command,
  type Exit,
  type FileEntry,
  isolations,
  isAtLeast,
  limits,
  type Sandbox,
  type SandboxBackend,
  SandboxFileError,
  type SandboxSpec,
} from "./sandbox.ts";

export interface SandboxUnderTest {
  open(): Promise<SandboxBackend>;
}

const megabyte = 2 ** 20;

export function describeSandboxContract(name: string, { open }: SandboxUnderTest): void {
  describe(`${name} keeps the contract of sandboxes`, () => {
    let backend: SandboxBackend;
    let sandbox: Sandbox;
    const folders: string[] = [];

    before(async () => {
      backend = await open();
      sandbox = await create();
    });
    after(async () => {
      await backend?.close();
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    });

    const create = (spec: Partial<SandboxSpec> = {}): Promise<Sandbox> =>
      backend.create({ isolation: backend.info.capabilities.isolation, ...spec });
    const shell = (
      script: string,
      more: Partial<Command> & { readonly input?: string | Uint8Array } = {},
      where = sandbox,
    ): ReturnType<typeof runCommand> => runCommand(where, { program: "/bin/sh", arguments: ["-c", script], ...more });
    const output = async (script: string, where = sandbox): Promise<string> => {
      const { exit, stdout, stderr } = await shell(script, {}, where);
      assert.deepEqual(exit, { reason: "exited", code: 0 }, `${script}: ${stderr.toString()}`);
      return stdout.toString();
    };
    /** Skips what a backend does not claim, and says so. */
    const claims = (context: TestContext, what: string, isClaimed: (capabilities: Capabilities) => boolean): boolean => {
      const claimed = isClaimed(backend.info.capabilities);
      if (!claimed) context.skip(`${backend.info.name} does not claim to ${what}`);
      return claimed;
    };
    const newFolder = (): string => {
      const folder = realpathSync(mkdtempSync(join(tmpdir(), "kelpie-workspace-")));
      folders.push(folder);
      return folder;
    };

    describe("isolation", () => {
      test("It runs code that asks for as much as it has, or less, and refuses code that asks for more (X1)", async () => {
        for (const isolation of isolations) {
          const asked = backend.create({ isolation });
          if (isAtLeast(backend.info.capabilities.isolation, isolation)) await (await asked).close();
          else
            await assert.rejects(asked, {
              name: "IsolationError",
              message: new RegExp(`"${isolation}".*"${backend.info.capabilities.isolation}"`),
            });
        }
      });

      test("It names what really runs a sandbox", () => {
        assert.notEqual(backend.info.version, "");
        assert.deepEqual(sandbox.info, backend.info);
      });
    });

    describe("commands", () => {
      for (const [title, script, exit, stdout, stderr] of [
        ["A command's two streams are kept apart", "echo out; echo err >&2", 0, "out\n", "err\n"],
        ["A command's code is its exit's", "exit 7", 7, "", ""],
        ["A command that a signal ends has the code 128 and its number", "kill -TERM $$", 143, "", ""],
        ["A crash says nothing that the command did not say", "(kill -SEGV $$)", 139, "", ""],
        ["Bytes come as they are", "printf '\\377\\000\\200'", 0, "\xff\0\x80", ""],
      ] as const)
        test(title, async () => {
          const result = await shell(script);
          assert.deepEqual(result.exit, { reason: "exited", code: exit });
          assert.equal(result.stdout.toString("latin1"), stdout);
          assert.equal(result.stderr.toString("latin1"), stderr);
        });

      test("A program that is not there ends with 127 and says so", async () => {
        const { exit, stderr } = await runCommand(sandbox, { program: "no-such-program" });
        assert.deepEqual(exit, { reason: "exited", code: 127 });
        assert.match(stderr.toString(), /no-such-program/);
      });

      for (const argument of [
        "",
        " ",
        "a b",
        "'",
        '"',
        "$HOME",
        "`id`",
        "\\",
        "line\nbreak",
        "-n",
        "*",
        "é😀",
        "\x01\x7f",
        "a'\"$(id)\\\n'b",
        "!x",
        "~",
      ])
        test(`An argument arrives as it was given: ${JSON.stringify(argument)}`, async () => {
          const result = await runCommand(sandbox, { program: "printf", arguments: ["%s|%s", argument, argument] });
          assert.equal(result.stdout.toString(), `${argument}|${argument}`);
        });

      test("A variable arrives as it was given, and no others do than the few that are always there", async () => {
        process.env["KELPIE_TEST_SECRET"] = "of the host";
        const result = await runCommand(sandbox, { program: "env", arguments: ["-0"], environment: { GIVEN: "a 'b'\n$c", LANG: "fr" } });
        const variables = Object.fromEntries(
          result.stdout
            .toString()
            .split("\0")
            .filter((line) => line !== "")
            .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
        );
        assert.equal(variables["GIVEN"], "a 'b'\n$c");
        assert.equal(variables["LANG"], "fr");
        assert.equal(variables["HOME"], sandbox.workspace);
        const others = new Set(["GIVEN", "LANG", "HOME", "PATH", "USER", "PWD", "OLDPWD"]);
        assert.deepEqual(
          Object.keys(variables).filter((key) => !others.has(key)),
          [],
        );
      });

      test("A command starts in its workspace, or in a folder of it", async () => {
        await sandbox.files.makeFolder("some/where it is");
        assert.equal(await output("pwd"), `${sandbox.workspace}\n`);
        for (const folder of ["some/where it is", `${sandbox.workspace}/some/where it is`])
          assert.equal((await shell("pwd", { folder })).stdout.toString(), `${sandbox.workspace}/some/where it is\n`);
        const missing = await shell("pwd", { folder: "not/there" });
        assert.notDeepEqual(missing.exit, { reason: "exited", code: 0 });
        assert.match(missing.stderr.toString(), /not\/there/);
      });

      test("A command reads what it is given, and then the end", async () => {
        const input = Buffer.alloc(3 * megabyte, "0123456789abcdef");
        const result = await runCommand(sandbox, { program: "cat", input });
        assert.ok(result.stdout.equals(input));
      });

      test("Output comes while the command runs, and input goes to it", async () => {
        const running = await sandbox.start({
          program: "/bin/sh",
          arguments: ["-c", 'while read -r line; do echo "<$line>"; done; echo end'],
        });
        const reader = running.output[Symbol.asyncIterator]();
        const next = async (): Promise<string> => Buffer.from((await reader.next()).value!.bytes).toString();
        await running.write(Buffer.from("one\n"));
        assert.equal(await next(), "<one>\n");
        await running.write(Buffer.from("two\n"));
        assert.equal(await next(), "<two>\n");
        running.endInput();
        assert.equal(await next(), "end\n");
        assert.equal((await reader.next()).done, true);
        assert.deepEqual(await running.exit, { reason: "exited", code: 0 });
      });

      test("Input that nobody reads is dropped when the command ends", async () => {
        const running = await sandbox.start({ program: "true" });
        await running.write(Buffer.alloc(4 * megabyte));
        running.endInput();
        assert.deepEqual(await running.exit, { reason: "exited", code: 0 });
        await running.write(Buffer.from("later"));
      });

      test("A reader that leaves does not keep the command from its end", async () => {
        const running = await sandbox.start({ program: "/bin/sh", arguments: ["-c", "head -c 5000000 /dev/zero"] });
        for await (const _chunk of running.output) break;
        assert.deepEqual(await running.exit, { reason: "exited", code: 0 });
      });

      test("An abort ends a command", async () => {
        const controller = new AbortController();
        const running = runCommand(sandbox, { program: "sleep", arguments: ["1000"] }, controller.signal);
        controller.abort();
        assert.deepEqual((await running).exit, { reason: "killed" });
      });

      for (const [what, command] of [
        ["no program", { program: "" }],
        ["a program with an equals sign", { program: "A=b" }],
        ["a zero byte", { program: "echo", arguments: ["a\0b"] }],
        ["too many arguments", { program: "echo", arguments: Array.from({ length: limits.arguments + 1 }, () => "x") }],
        ["an argument that is too long", { program: "echo", arguments: ["x".repeat(limits.argumentBytes + 1)] }],
        ["too much altogether", { program: "echo", arguments: Array.from({ length: 20 }, () => "x".repeat(100_000)) }],
        ["a variable's name that is none", { program: "true", environment: { "A B": "x" } }],
        ["a timeout of nothing", { program: "true", timeoutMilliseconds: 0 }],
        ["a timeout that is no number", { program: "true", timeoutMilliseconds: Number.NaN }],
        ["a timeout of years", { program: "true", timeoutMilliseconds: 1e12 }],
        ["a negative bound", { program: "true", outputBytesMax: -1 }],
        ["a folder with a zero byte", { program: "true", folder: "a\0b" }],
      ] as const satisfies readonly (readonly [string, Command])[])
        test(`It refuses a command with ${what}, and says what is wrong`, async () => {
          await assert.rejects(sandbox.start(command), { name: "SandboxInputError", message: /^Cannot start .+: .+/ });
        });

      test("As many commands run at one time as the limit says, and one more is refused", async () => {
        const own = await create();
        const running = await Promise.all(Array.from({ length: limits.commands }, () => own.start({ program: "cat" })));
        await assert.rejects(own.start({ program: "true" }), { name: "SandboxLimitError" });
        running[0]!.kill();
        await running[0]!.exit;
        assert.deepEqual((await runCommand(own, { program: "true" })).exit, { reason: "exited", code: 0 });
        await own.close();
        for (const { exit } of running) assert.deepEqual(await exit, { reason: "killed" });
      });
    });

    describe("ends and bounds", () => {
      /** A command whose processes try to outlive it, by name, and what it prints once they are there. */
      const stubborn = "trap '' TERM INT HUP; echo there; while :; do sleep 1000; done";

      test("A command whose time is up is ended, also if it ignores signals", async () => {
        const result = await shell(stubborn, { timeoutMilliseconds: 300 });
        assert.deepEqual(result.exit, { reason: "timeout" });
        assert.equal(result.stdout.toString(), "there\n");
      });

      test("A command that writes too much is ended, and what came before is kept", async () => {
        const result = await shell("yes", { outputBytesMax: 100_000 });
        assert.deepEqual(result.exit, { reason: "output-limit" });
        assert.equal(result.stdout.length + result.stderr.length, 100_000);
      });

      test("A command that writes just as much as it may is not ended", async () => {
        const result = await shell("head -c 100000 /dev/zero", { outputBytesMax: 100_000 });
        assert.deepEqual(result.exit, { reason: "exited", code: 0 });
        assert.equal(result.stdout.length, 100_000);
      });

      test("A command whose output nobody reads is made to wait, and ended in time", async () => {
        const running = await sandbox.start({ program: "yes", timeoutMilliseconds: 500, outputBytesMax: limits.outputBytesMax });
        assert.deepEqual(await running.exit, { reason: "timeout" });
      });

      for (const [title, end, reason] of [
        ["its time is up", { timeoutMilliseconds: 700 }, "timeout"],
        ["it ends by itself", { stop: "exit 0" }, "exited"],
        ["it is killed", { kill: true }, "killed"],
      ] as const)
        test(`Everything a command started has ended when ${title}, also what left its group and its parent (X2)`, async (context) => {
          if (!claims(context, "end everything", ({ endsEverything }) => endsEverything)) return;
          const own = await create();
          // The beat of whatever still runs, in the workspace, which outlives the command.
          const daemon = "trap '' TERM HUP INT; while :; do date +%s%N >beat; done";
          const script = `setsid sh -c 'setsid sh -c "${daemon.replaceAll('"', '\\"')}" >/dev/null 2>&1 &' & until [ -s beat ]; do :; done; echo beating; ${"stop" in end ? end.stop : "sleep 1000"}`;
          const running = await own.start({ program: "/bin/sh", arguments: ["-c", script], ...("timeoutMilliseconds" in end ? end : {}) });
          for await (const _chunk of running.output) if ("kill" in end) running.kill();
          const exit: Exit = await running.exit;
          assert.equal(exit.reason, reason);
          const beat = async (): Promise<string> => Buffer.from(await own.files.read("beat")).toString();
          const last = await beat();
          // A command of the same sandbox takes longer than a beat.
          await output("true", own);
          assert.equal(await beat(), last);
          await own.close();
        });

      test("A command cannot start more processes than the bound says", async (context) => {
        if (!claims(context, "bound processes", ({ processBound }) => processBound)) return;
        const own = await create({ bounds: { processes: 20 } });
        const result = await shell("i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; echo all", {}, own);
        assert.doesNotMatch(result.stdout.toString(), /all/);
        assert.match(result.stderr.toString(), /fork/i);
        await own.close();
      });

      test("A command that takes more memory than the bound says is ended, and the sandbox goes on", async (context) => {
        if (!claims(context, "bound memory", ({ memoryBound }) => memoryBound !== "none")) return;
        const own = await create({ bounds: { memoryBytes: 64 * megabyte } });
        const result = await runCommand(own, { program: "perl", arguments: ["-e", 'my $x = "x" x 200_000_000; print length $x'] });
        if (backend.info.capabilities.memoryBound === "sandbox") assert.deepEqual(result.exit, { reason: "memory-limit" });
        assert.equal(result.stdout.toString(), "");
        assert.equal(await output("echo on", own), "on\n");
        await own.close();
      });

      test("A command that fills the disk is ended; nothing starts until files are gone", async (context) => {
        if (!claims(context, "bound the disk", ({ diskBound }) => diskBound !== "none")) return;
        const own = await create({ bounds: { diskBytes: 8 * megabyte } });
        const fill = "i=0; while :; do head -c 4000000 /dev/zero >file$i || sleep 1; i=$((i+1)); [ $i -lt 20 ] || sleep 1000; done";
        const result = await shell(fill, {}, own);
        assert.equal(result.exit.reason, "disk-limit");
        await assert.rejects(own.start({ program: "true" }), { name: "SandboxLimitError", message: /full/ });
        await assert.rejects(own.files.write("more", "x"), { name: "SandboxFileError", code: "full" });
        for (const { name } of await own.files.list("")) await own.files.remove(name);
        assert.equal(await output("echo on", own), "on\n");
        await own.close();
      });

      for (const [name, bounds] of [
        ["memory", { memoryBytes: 1 }],
        ["processes", { processes: 0 }],
        ["processors", { processors: 0 }],
        ["disk", { diskBytes: 0.5 }],
        ["entries", { diskEntries: Number.NaN }],
        ["open files", { openFiles: 1e12 }],
      ] as const)
        test(`It refuses a bound of ${name} that cannot be`, async () => {
          await assert.rejects(create({ bounds }), { name: "SandboxInputError", message: /Cannot bound/ });
        });
    });

    describe("what a command sees", () => {
      test("Commands of one sandbox share its files, those of another do not", async (context) => {
        await output("echo shared >mine; echo tmp >/tmp/kelpie-mine 2>/dev/null || true");
        assert.equal(await output("cat mine"), "shared\n");
        if (!claims(context, "hide the host", ({ hidesHost }) => hidesHost)) return;
        assert.equal(await output("cat /tmp/kelpie-mine"), "tmp\n");
        const other = await create();
        assert.equal(await output("cat mine /tmp/kelpie-mine 2>/dev/null; echo none", other), "none\n");
        await other.close();
      });

      test("Commands of one sandbox reach each other on 127.0.0.1", async () => {
        const serve = "const s=require('net').createServer(c=>c.end('served')).listen(0,'127.0.0.1',()=>console.log(s.address().port))";
        const server = await sandbox.start({ program: "node", arguments: ["-e", serve] });
        const reader = server.output[Symbol.asyncIterator]();
        const port = Buffer.from((await reader.next()).value!.bytes)
          .toString()
          .trim();
        const ask = `require('net').connect(${port},'127.0.0.1').on('data',d=>console.log(String(d)))`;
        const result = await runCommand(sandbox, { program: "node", arguments: ["-e", ask] });
        assert.equal(result.stdout.toString(), "served\n");
        server.kill();
        await server.exit;
      });

      test("A command sees no file of the host but its system and its mounts, and can write only its own (X4)", async (context) => {
        if (!claims(context, "hide the host", ({ hidesHost }) => hidesHost)) return;
        const secret = join(newFolder(), "secret");
        writeFileSync(secret, "of the host");
        chmodSync(secret, 0o644);
        assert.equal(
          (await shell(`cat ${secret}`)).exit.reason === "exited" && (await shell(`cat ${secret} 2>/dev/null; true`)).stdout.toString(),
          "",
        );
        const writable = await output(
          "find / -xdev -path /proc -prune -o -writable -not -type l -print 2>/dev/null; find /dev /usr -writable -type d 2>/dev/null; true",
        );
        const outside = writable
          .split("\n")
          .filter((path) => path !== "" && !/^\/(workspace|tmp|dev\/(shm|null|zero|full|random|urandom|tty|pts|ptmx))(\/|$)/.test(path));
        assert.deepEqual(outside, []);
      });

      test("A mount is seen where it was asked for, and written only if it may be", async (context) => {
        if (!claims(context, "hide the host", ({ hidesHost }) => hidesHost)) return;
        const [readOnly, writable] = [newFolder(), newFolder()];
        for (const folder of [readOnly, writable]) {
          writeFileSync(join(folder, "file"), "of the host");
          chmodSync(folder, 0o777);
        }
        const own = await create({
          mounts: [
            { source: readOnly, target: "/data/read" },
            { source: writable, target: "/data/write", writable: true },
          ],
        });
        assert.equal(await output("cat /data/read/file /data/write/file", own), "of the hostof the host");
        assert.notDeepEqual((await shell("echo x >/data/read/new", {}, own)).exit, { reason: "exited", code: 0 });
        await output("echo x >/data/write/new", own);
        assert.deepEqual([existsSync(join(readOnly, "new")), existsSync(join(writable, "new"))], [false, true]);
        await own.close();
      });

      for (const target of ["/", "/workspace", "/workspace/x", "/proc", "/usr/lib", "/etc/passwd", "relative", "/a/../b", "/tmp/x", "/dev"])
        test(`It refuses a mount at ${target}`, async () => {
          await assert.rejects(create({ mounts: [{ source: newFolder(), target }] }), { name: "SandboxInputError" });
        });

      test("A workspace of the caller stays when the sandbox goes, and serves one sandbox at a time", async (context) => {
        const workspace = newFolder();
        if (process.getuid!() === 0 && backend.info.capabilities.isolation !== "none") chownSync(workspace, 12_345, 12_345);
        const first = await create({ workspace });
        await output("echo kept >file", first);
        if (claims(context, "isolate", ({ isolation }) => isolation !== "none"))
          await assert.rejects(create({ workspace }), { name: "SandboxInputError", message: /another sandbox/ });
        await first.close();
        assert.equal(readFileSync(join(workspace, "file"), "utf8"), "kept\n");
        const second = await create({ workspace });
        assert.equal(await output("cat file", second), "kept\n");
        await second.close();
      });

      for (const workspace of ["relative", "/no/such/folder", "/proc/self/status"])
        test(`It refuses ${workspace} as a workspace`, async () => {
          await assert.rejects(create({ workspace }), { name: "SandboxInputError", message: /as a workspace/ });
        });
    });

    describe("files", () => {
      const text = async (path: string): Promise<string> => Buffer.from(await sandbox.files.read(path)).toString();
      const fails = (code: SandboxFileError["code"]) => (error: unknown) => error instanceof SandboxFileError && error.code === code;

      test("What is written is read, by commands too, and the other way round", async () => {
        await sandbox.files.write("deep/er/file", "written");
        assert.equal(await output("cat deep/er/file"), "written");
        await output("printf changed >deep/er/file");
        assert.equal(await text("deep/er/file"), "changed");
        assert.equal(await text(`${sandbox.workspace}/deep/../deep/./er//file`), "changed");
        const bytes = Buffer.from([0, 255, 128]);
        await sandbox.files.write("bytes", bytes);
        assert.ok(bytes.equals(await sandbox.files.read("bytes")));
      });

      test("A command may change what was written", async () => {
        await sandbox.files.write("theirs", "a");
        await sandbox.files.makeFolder("their folder");
        await output("echo b >>theirs; echo c >'their folder/c'; rm theirs; rm -r 'their folder'");
      });

      test("A file keeps its rights when it is written again", async () => {
        await sandbox.files.write("script", "#!/bin/sh\necho one");
        await output("chmod 755 script");
        await sandbox.files.write("script", "#!/bin/sh\necho two");
        assert.equal(await output("./script"), "two\n");
      });

      test("A list has names in order, kinds and sizes", async () => {
        await output("mkdir list; cd list; mkdir folder; printf 12345 >file; ln -s file link; mkfifo pipe");
        const shape = ({ name, kind, bytes }: FileEntry): unknown => (kind === "file" ? [name, kind, bytes] : [name, kind]);
        const entries = (await sandbox.files.list("list")).map(shape);
        assert.deepEqual(entries, [
          ["file", "file", 5],
          ["folder", "folder"],
          ["link", "link"],
          ["pipe", "other"],
        ]);
        assert.deepEqual(shape((await sandbox.files.stat("list/file"))!), ["file", "file", 5]);
        assert.equal(await sandbox.files.stat("list/none"), undefined);
      });

      test("A folder goes with what is in it, also what its rights keep from being read; what is not there is gone already", async () => {
        await output(
          "mkdir -p gone/a/b; echo x >gone/a/b/c; mkdir gone/locked; echo x >gone/locked/x; chmod 000 gone/locked; ln -s .. gone/up",
        );
        await sandbox.files.remove("gone");
        await sandbox.files.remove("gone");
        assert.equal(await sandbox.files.stat("gone"), undefined);
        assert.notEqual(await sandbox.files.stat("deep"), undefined);
      });

      test("Links are followed as long as they stay in the workspace", async () => {
        await output(
          `mkdir -p links/real; printf there >links/real/file; ln -s real links/relative; ln -s ${sandbox.workspace}/links/real links/absolute; ln -s file links/real/again`,
        );
        for (const path of ["links/relative/file", "links/absolute/file", "links/relative/again", "links/real/../absolute/again"])
          assert.equal(await text(path), "there");
        await sandbox.files.write("links/relative/again", "written");
        assert.equal(await text("links/real/file"), "written");
      });

      for (const [what, path, code] of [
        ["that is not there", "none", "not-found"],
        ["in a file", "plain/inner", "not-a-folder"],
        ["that is a folder", "folder", "not-a-file"],
        ["that is a pipe, without waiting for it", "pipe", "not-a-file"],
        ["above the workspace", "../x", "outside"],
        ["of the host", "/etc/passwd", "outside"],
        ["that climbs out", "folder/../../etc/passwd", "outside"],
        ["with a zero byte", "a\0b", "failed"],
        ["that is too long", "x/".repeat(3_000), "failed"],
        ["behind a link to the host", "out", "outside"],
        ["behind a link that climbs out", "climb", "outside"],
        ["behind a folder that is a link to the host", "etc/passwd", "outside"],
        ["behind a link to itself", "loop", "failed"],
        ["behind links that name each other", "ping", "failed"],
      ] as const)
        test(`It does not read a file ${what} (X6)`, async () => {
          await output(
            "ln -sf /etc/passwd out; ln -sf ../../../../../../etc/passwd climb; ln -sfn /etc etc; ln -sf loop loop; ln -sf pong ping; ln -sf ping pong; echo x >plain; mkdir -p folder; [ -p pipe ] || mkfifo pipe",
          );
          await assert.rejects(sandbox.files.read(path), fails(code));
        });

      test("It writes, makes and removes nothing through links that lead out (X6)", async () => {
        const outside = newFolder();
        chmodSync(outside, 0o777);
        writeFileSync(join(outside, "theirs"), "kept");
        await output(`ln -sfn ${outside} escape; ln -sf ${outside}/theirs escape-file`);
        await assert.rejects(sandbox.files.write("escape/new", "x"), fails("outside"));
        await assert.rejects(sandbox.files.write("escape-file", "x"), fails("outside"));
        await assert.rejects(sandbox.files.makeFolder("escape/new"), fails("outside"));
        await assert.rejects(sandbox.files.list("escape"), fails("outside"));
        await assert.rejects(sandbox.files.remove("escape/theirs"), fails("outside"));
        await sandbox.files.remove("escape");
        await sandbox.files.remove("escape-file");
        assert.equal(readFileSync(join(outside, "theirs"), "utf8"), "kept");
        assert.equal(existsSync(join(outside, "new")), false);
      });

      test("A folder that is a link in one moment and none in the next leads nowhere else (X6)", async () => {
        const outside = newFolder();
        chmodSync(outside, 0o777);
        mkdirSync(join(outside, "inner"));
        writeFileSync(join(outside, "inner", "file"), "of the host");
        const script = `mkdir -p real/inner; echo own >real/inner/file; ln -sfn ${outside} other; echo ready; while :; do ln -sfn real swap; ln -sfn other swap2; mv -T swap2 swap 2>/dev/null; done`;
        const swapping = await sandbox.start({ program: "/bin/sh", arguments: ["-c", script] });
        const reader = swapping.output[Symbol.asyncIterator]();
        await reader.next();
        let read = 0;
        let refused = 0;
        for (let round = 0; round < 300; round++) {
          try {
            assert.equal(await text("swap/inner/file"), "own\n");
            read++;
          } catch (error) {
            if (!(error instanceof SandboxFileError)) throw error;
            refused++;
          }
          await sandbox.files.write("swap/inner/new", "x").catch(() => undefined);
        }
        swapping.kill();
        await swapping.exit;
        assert.equal(existsSync(join(outside, "inner", "new")), false);
        assert.ok(read + refused === 300);
      });

      test("It reads at most as much as was asked for", async () => {
        await output("head -c 100 /dev/zero >hundred");
        assert.equal((await sandbox.files.read("hundred", 100)).length, 100);
        await assert.rejects(sandbox.files.read("hundred", 99), fails("too-large"));
        await output(`truncate -s ${limits.fileReadBytes + 1} huge`);
        await assert.rejects(sandbox.files.read("huge"), fails("too-large"));
        await sandbox.files.remove("huge");
        await assert.rejects(sandbox.files.write("x", Buffer.alloc(limits.fileWriteBytes + 1)), fails("too-large"));
      });
    });

    describe("its end", () => {
      test("A closed sandbox starts nothing, and closes again", async () => {
        const own = await create();
        await own.close();
        await own.close();
        await assert.rejects(own.start({ program: "true" }), { name: "SandboxClosedError" });
      });

      test("Commands that run when it closes are ended", async () => {
        const own = await create();
        const running = await own.start({ program: "cat" });
        await own.close();
        assert.deepEqual(await running.exit, { reason: "killed" });
      });

      test("A hundred commands, ten at a time, each end as they should", async () => {
        const own = await create();
        let next = 0;
        const worker = async (): Promise<void> => {
          for (let code = next++; code < 100; code = next++)
            assert.deepEqual((await shell(`exit ${code}`, {}, own)).exit, { reason: "exited", code });
        };
        await Promise.all(Array.from({ length: 10 }, worker));
        await own.close();
      });
    });

    test("A policy of the network is not taken by a sandbox that was made without one", async () => {
      assert.throws(() => sandbox.setNetwork({ allow: [] }), { name: "SandboxInputError" });
      const link = join(newFolder(), "link");
      symlinkSync("/", link);
      await assert.rejects(create({ workspace: link, isolation: "vm" }), { name: "IsolationError" });
    });
  });
}
