/** Certificates for tests, made by `openssl`, which most systems have. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CertificatePaths } from "../certificate-files.ts";

/** Why there are no certificates to test with, or `undefined` if there are. */
export const opensslMissing: string | undefined =
  spawnSync("openssl", ["version"], { stdio: "ignore" }).status === 0 ? undefined : "openssl is not installed";

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** Makes files in a directory of its own. Everything has a name; its files are `<name>.pem` and `<name>.key`. */
export class CertificateMaker implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), "kelpie-certificates-"));

  path(file: string): string {
    return join(this.directory, file);
  }

  authority(name: string): void {
    this.#openssl("req", "-x509", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", `/CN=${name}`, "-days", "2");
  }

  /** A certificate that `authority` signs, for so many days; expired if they are below 0. `isAuthority`: it may sign others. */
  node(name: string, authority: string, options: { readonly days?: number; readonly isAuthority?: boolean } = {}): CertificatePaths {
    const { days = 1, isAuthority = false } = options;
    const extensions = isAuthority ? ["-addext", "basicConstraints=critical,CA:TRUE"] : [];
    this.#openssl("req", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`, ...extensions);
    const signer = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial"];
    const copied = isAuthority ? ["-copy_extensions", "copy"] : [];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, ...signer, ...copied, "-days", String(days), "-out", `${name}.pem`);
    return { certificate: this.path(`${name}.pem`), key: this.path(`${name}.key`), authority: this.path(`${authority}.pem`) };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #openssl(...parameters: readonly string[]): void {
    execFileSync("openssl", parameters, { cwd: this.directory, stdio: "pipe" });
  }
}
