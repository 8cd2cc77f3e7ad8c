/**
 * Makes the clone ready to run: installs the dependencies, among them the project's own Node 24, when they are
 * missing or older than package-lock.json.
 *
 * Plain JavaScript without dependencies, because it runs on whatever Node the host has. It is part of every npm script,
 * so it does almost nothing when there is nothing to do.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, lstatSync, statSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lockFile = join(root, "package-lock.json");
// npm writes this file last, so it is there only after a complete installation.
const installedFile = join(root, "node_modules", ".package-lock.json");
const projectNode = join(root, "node_modules", ".bin", "node");
const hostNodeMajorMin = 20;
const projectNodeMajorMin = 24;
const progressMilliseconds = 10_000;

const reason = whyInstall();
if (reason !== undefined) await install(reason);

function whyInstall() {
  if (!existsSync(installedFile)) return "the dependencies are not installed";
  if (!existsSync(projectNode)) return "the project's own Node is missing";
  if (statSync(lockFile).mtimeMs > statSync(installedFile).mtimeMs) return "package-lock.json has changed";
  return undefined;
}

async function install(why) {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < hostNodeMajorMin)
    fail(
      `Setting Kelpie up needs Node ${hostNodeMajorMin} or newer, and this is ${process.version}`,
      "Install a newer one from https://nodejs.org and run the command again.",
    );

  // npm ci empties the folder first, and would empty another clone's.
  if (lstatSync(join(root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink() === true)
    fail("node_modules is a symbolic link, and npm ci would empty what it points to", "Remove the link and run the command again.");

  say(`Setting up, because ${why}: npm ci (once; about 300 MB in node_modules)`);
  const started = performance.now();
  const progress = setInterval(() => say(`still installing, ${seconds(started)} so far`), progressMilliseconds);
  const { code, output, error } = await run("npm", ["ci"]);
  clearInterval(progress);

  if (error?.code === "ENOENT")
    fail("npm is not on the PATH", "npm comes with Node: install Node from https://nodejs.org, or your system's npm package.");
  if (error !== undefined) fail(`npm could not be started: ${error.message}`, "Run npm ci by hand to see more.");
  if (code !== 0) {
    if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network/i.test(output))
      fail(
        `npm ci could not reach the package registry (exit code ${code})`,
        "Check the network, and the proxy and registry that `npm config list` shows; then run the command again.",
      );
    if (/ENOSPC/.test(output)) fail("npm ci found the disk full", "Make 500 MB free and run the command again.");
    if (/EACCES|EPERM/.test(output))
      fail("npm ci may not write here", `Make ${root} writable for you, and the npm cache (npm config get cache).`);
    fail(`npm ci ended with exit code ${code}`, "Its messages are above.");
  }

  const version = spawnSync(projectNode, ["--version"], { encoding: "utf8" });
  const projectMajor = Number(/^v(\d+)\./.exec(version.stdout ?? "")?.[1]);
  if (!(projectMajor >= projectNodeMajorMin))
    fail(
      `The project's own Node does not run here (${version.error?.message ?? (version.stderr || version.stdout || "no output").trim()})`,
      `Kelpie needs Node ${projectNodeMajorMin}; there may be no build of it for this system (${process.platform}, ${process.arch}).`,
    );
  say(`ready in ${seconds(started)}, with Node ${version.stdout.trim()}`);
}

/** Runs with the host's own PATH: npm puts node_modules/.bin first, whose Node is what is being replaced. */
function run(command, args) {
  const path = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => !/[\\/]node_modules[\\/]\.bin[\\/]?$/.test(folder))
    .join(delimiter);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, PATH: path }, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk) => {
        process.stderr.write(chunk);
        output = (output + chunk).slice(-20_000);
      });
    child.on("error", (error) => resolve({ code: null, output, error }));
    child.on("close", (code) => resolve({ code, output, error: undefined }));
  });
}

/** Standard error, so that the output of the command that follows stays clean. */
function say(text) {
  process.stderr.write(`kelpie setup: ${text}\n`);
}

function fail(what, advice) {
  process.stderr.write(`\nkelpie setup: ${what}\n  ${advice}\n`);
  process.exit(1);
}

function seconds(started) {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}
