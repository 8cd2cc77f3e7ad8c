/** What would keep a node's certificates from being of use, found before anything depends on them. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { CertificatePaths } from "./certificate-files.ts";

/** A file of TLS between nodes is missing, expired, or does not fit the others. The message says which, and what to do. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
}

/** `now` is Unix milliseconds. @throws {CertificateError} */
export function checkCertificates(paths: CertificatePaths, now: number): { readonly validUntil: Date } {
  // A node shows the first of its file, and the others are authorities between it and the cluster's.
  const [own, ...between] = readCertificates(paths.certificate, "certificate");
  const authorities = readCertificates(paths.authority, "authority");
  const key = readKey(paths.key);
  if (!own!.checkPrivateKey(key))
    throw new CertificateError(
      `The key in ${paths.key} is not that of the certificate in ${paths.certificate}: name the two that were made together`,
    );
  refuseUntimely(own!, paths.certificate, now);
  const authority = rootOf(own!, between, authorities);
  if (authority === undefined)
    throw new CertificateError(
      `The certificate in ${paths.certificate} was not signed by the authority in ${paths.authority}: have that authority sign it, or name the one that has (${issuerOf(own!)})`,
    );
  refuseUntimely(authority, paths.authority, now);
  return { validUntil: own!.validToDate };
}

function readCertificates(path: string, what: string): readonly X509Certificate[] {
  const blocks = read(path, what).match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new CertificateError(`${path} holds a certificate that cannot be read: ${(error as Error).message}`, { cause: error });
  }
  throw new CertificateError(`${path} holds no certificate: name a PEM file, which has a line -----BEGIN CERTIFICATE-----`);
}

function readKey(path: string): KeyObject {
  const text = read(path, "key");
  try {
    return createPrivateKey(text);
  } catch (error) {
    // The error's own words may show a part of the key.
    throw new CertificateError(`${path} holds no private key that can be read without a password: name a PEM file of one`, {
      cause: error,
    });
  }
}

function read(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CertificateError(
      `The file of the cluster's ${what} cannot be read: ${(error as Error).message} (KELPIE_CLUSTER_${what.toUpperCase()})`,
      {
        cause: error,
      },
    );
  }
}

function refuseUntimely(certificate: X509Certificate, path: string, now: number): void {
  const { validFromDate, validToDate } = certificate;
  if (validToDate.getTime() < now)
    throw new CertificateError(`The certificate in ${path} expired at ${validToDate.toISOString()}: put a new one in its place`);
  if (validFromDate.getTime() > now)
    throw new CertificateError(
      `The certificate in ${path} is valid from ${validFromDate.toISOString()} on, which is not yet: is this host's clock right?`,
    );
}

/** The authority that the chain of signatures from `own` leads to. */
function rootOf(
  own: X509Certificate,
  between: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): X509Certificate | undefined {
  const hasSigned = (signer: X509Certificate, signed: X509Certificate): boolean =>
    signed.checkIssued(signer) && signed.verify(signer.publicKey);
  let signed = own;
  for (let left = between; ;) {
    const authority = authorities.find((each) => hasSigned(each, signed));
    if (authority !== undefined) return authority;
    const signer = left.find((each) => hasSigned(each, signed));
    if (signer === undefined) return undefined;
    left = left.filter((each) => each !== signer);
    signed = signer;
  }
}

function issuerOf(certificate: X509Certificate): string {
  return certificate.issuer.replaceAll("\n", ", ");
}
