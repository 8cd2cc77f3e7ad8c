/** A registry of packages for tests, in the protocols of pip and npm: what is put into it, and a count of what was asked of it. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Registry } from "./packages.ts";

/** How sandboxes call this host: 127.0.0.1 is their own. Whoever opens an `EgressProxy` leads it there. */
export const registryHost = "registry.test";

export class TestRegistry implements Disposable {
  /** Paths, as they were asked for. */
  readonly asked: string[] = [];
  readonly #files = new Map<string, { readonly type: string; readonly content: Buffer | string }>();
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), "kelpie-registry-"));

  static async start(): Promise<TestRegistry> {
    const registry = new TestRegistry();
    await new Promise<void>((resolve) => void registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  private constructor() {
    this.#server = createServer(({ url = "/" }, response) => {
      this.asked.push(url);
      const found = this.#files.get(decodeURIComponent(url));
      response.writeHead(found === undefined ? 404 : 200, { "content-type": found?.type ?? "text/plain" });
      response.end(found?.content ?? "There is no such thing");
    });
  }

  get url(): string {
    return `http://${registryHost}:${(this.#server.address() as AddressInfo).port}`;
  }

  of(language: "python" | "typescript"): Registry {
    return { url: language === "python" ? `${this.url}/simple` : this.url, hosts: [] };
  }

  /** A wheel with one module of that name. */
  addWheel(name: string, version: string, source: string): void {
    const file = `${name}-${version}-py3-none-any.whl`;
    const information = `${name}-${version}.dist-info`;
    const files = {
      [`${name}.py`]: source,
      [`${information}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
      [`${information}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
      [`${information}/RECORD`]: "",
    };
    const script =
      "import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n    for name, text in json.loads(sys.argv[2]).items():\n        wheel.writestr(name, text)";
    const path = join(this.#folder, file);
    execFileSync("/usr/bin/python3", ["-c", script, path, JSON.stringify(files)]);
    this.#addPython(name, file, readFileSync(path));
  }

  /** What only a script of its own could install. */
  addSourceDistribution(name: string, version: string, setup: string): void {
    const path = this.#archive(`${name}-${version}`, { "setup.py": setup, "PKG-INFO": `Name: ${name}\nVersion: ${version}\n` });
    this.#addPython(name, `${name}-${version}.tar.gz`, readFileSync(path));
  }

  addNpm(name: string, version: string, manifest: object, source: string): void {
    const file = `/${name}/-/${name}-${version}.tgz`;
    const whole = { name, version, ...manifest };
    const path = this.#archive("package", { "package.json": JSON.stringify(whole), "index.js": source });
    const versions = { [version]: { ...whole, dist: { tarball: `${this.url}${file}` } } };
    this.#files.set(file, { type: "application/octet-stream", content: readFileSync(path) });
    this.#files.set(`/${name}`, {
      type: "application/json",
      content: JSON.stringify({ name, "dist-tags": { latest: version }, versions }),
    });
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
    rmSync(this.#folder, { recursive: true });
  }

  #addPython(name: string, file: string, content: Buffer): void {
    this.#files.set(`/files/${file}`, { type: "application/octet-stream", content });
    this.#files.set(`/simple/${name.replaceAll("_", "-")}/`, {
      type: "text/html",
      content: `<!DOCTYPE html><a href="/files/${file}">${file}</a>`,
    });
  }

  #archive(folder: string, files: Readonly<Record<string, string>>): string {
    mkdirSync(join(this.#folder, folder), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#folder, folder, name), text);
    const path = join(this.#folder, `${folder}.tar.gz`);
    execFileSync("tar", ["-czf", path, "-C", this.#folder, folder]);
    rmSync(join(this.#folder, folder), { recursive: true });
    return path;
  }
}
