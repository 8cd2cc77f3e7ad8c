import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Cancel, Environment } from "../environment/environment.ts";

/** Paths of PEM files. The authority is the cluster's own: whoever it signed is a node of the cluster. */
export interface CertificatePaths {
  readonly certificate: string;
  readonly key: string;
  readonly authority: string;
}

/** What the files hold. */
export interface Certificates {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

/** Certificates that are read again when their files change. Connections that are open keep those they began with. */
export class CertificateFiles {
  readonly #paths: CertificatePaths;
  readonly #environment: Environment;
  readonly #everyMilliseconds: number;
  #current: { readonly certificates: Certificates; readonly context: SecureContext } | undefined;
  #marks = "";
  #cancel: Cancel = () => {};
  #isClosed = false;
  /** Called with new certificates. */
  onChange: (certificates: Certificates) => void = () => {};

  constructor(paths: CertificatePaths, environment: Environment, everyMilliseconds: number) {
    this.#paths = paths;
    this.#environment = environment;
    this.#everyMilliseconds = everyMilliseconds;
  }

  /** Reads them if nobody has yet. @throws {Error} A file is missing, or they do not belong together. */
  async load(): Promise<{ readonly certificates: Certificates; readonly context: SecureContext }> {
    if (this.#current === undefined) {
      await this.#read();
      this.#watch();
    }
    return this.#current!;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  #watch(): void {
    // Asking, not watching: certificates are mounted in ways whose changes no watcher hears of.
    this.#cancel = this.#environment.clock.schedule(this.#everyMilliseconds, () => {
      void this.#look().finally(() => {
        if (!this.#isClosed) this.#watch();
      });
    });
  }

  async #look(): Promise<void> {
    try {
      if ((await this.#markFiles()) === this.#marks) return;
      await this.#read();
      this.#environment.log.write("info", "The certificates of the cluster were loaded again", { ...this.#paths });
      if (!this.#isClosed) this.onChange(this.#current!.certificates);
    } catch (error) {
      // Half of a change, perhaps: the old ones stay in use, and the files are looked at again.
      this.#environment.log.write("warn", "The certificates of the cluster have changed and cannot be used yet", { error });
    }
  }

  async #read(): Promise<void> {
    const { certificate, key, authority } = this.#paths;
    const marks = await this.#markFiles();
    const [certBytes, keyBytes, authorityBytes] = await Promise.all([readFile(certificate), readFile(key), readFile(authority)]);
    const certificates = { cert: certBytes, key: keyBytes, ca: authorityBytes };
    this.#current = { certificates, context: createSecureContext({ ...certificates, minVersion: "TLSv1.3" }) };
    this.#marks = marks;
  }

  async #markFiles(): Promise<string> {
    const { certificate, key, authority } = this.#paths;
    const stats = await Promise.all([certificate, key, authority].map((path) => stat(path)));
    return stats.map(({ ino, size, mtimeMs }) => `${ino} ${size} ${mtimeMs}`).join("; ");
  }
}
