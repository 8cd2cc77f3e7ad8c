/** `kelpie doctor` on this machine: what a start would find. */
import { accessSync, constants, existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import type { Finding } from "./cli/program.ts";
import type { CertificatePaths } from "./cluster/certificate-files.ts";
import { CertificateError, checkCertificates } from "./cluster/check-certificates.ts";
import { describeDescriptor, JoinError } from "./cluster/join.ts";
import type { Environment } from "./environment/environment.ts";
import { demoModelInfo } from "./models/demo-model.ts";
import type { ModelCatalogue } from "./models/model-catalogue.ts";
import { lookAt } from "./join-cluster.ts";
import { describePlace, placeOf, type StorePlace } from "./open-store.ts";
import { diagnoseSandbox } from "./sandbox/diagnose-sandbox.ts";
import { certificatesOf, loadServices } from "./serve.ts";
import { diagnoseFoundationDb } from "./storage/foundationdb-native.ts";
import { PostgresStore } from "./storage/postgres-store.ts";
import { checkStoreFile } from "./storage/sqlite-file.ts";

export async function diagnose(
  options: ReadonlyMap<string, string>,
  variables: Readonly<Record<string, string | undefined>>,
): Promise<readonly Finding[]> {
  const { config, providers, warnings, models, environment } = loadServices(options, variables);
  const keys = Object.keys(providers);
  return [
    nodeFinding(),
    config.join === undefined ? await storeFinding(placeOf(config)) : await clusterFinding(config.join, config.apiKey),
    ...certificateFindings(certificatesOf(config)),
    await portFinding(config.port, config.host),
    keyFinding(config.apiKey !== undefined, config.host),
    keys.length === 0
      ? { subject: "providers", state: "note", detail: "no key or address of a provider is set; the demo model answers" }
      : { subject: "providers", state: "ok", detail: `set: ${keys.join(", ")}` },
    await modelsFinding(models),
    await sandboxFinding(environment, config.unisolatedTools),
    ...warnings.map((detail) => ({ subject: "setting", state: "note", detail }) as const),
  ];
}

function nodeFinding(): Finding {
  const major = Number(process.versions.node.split(".")[0]);
  const needed = 24;
  return major >= needed
    ? { subject: "Node", state: "ok", detail: `${process.version} (${process.platform}, ${process.arch})` }
    : {
        subject: "Node",
        state: "problem",
        detail: `${process.version} is too old: ${needed} or newer is needed, which npm run kelpie brings along`,
      };
}

async function storeFinding(place: StorePlace): Promise<Finding> {
  switch (place.kind) {
    case "sqlite":
      return fileFinding(place.path);
    case "postgres":
      return await databaseFinding(place);
    case "foundationdb":
      return { subject: "store", ...(await diagnoseFoundationDb(place.clusterFile)) };
  }
}

/** Nothing for nodes without TLS. */
function certificateFindings(paths: CertificatePaths | undefined): readonly Finding[] {
  if (paths === undefined) return [];
  const subject = "certificate";
  try {
    const { validUntil } = checkCertificates(paths, Date.now());
    return [
      {
        subject,
        state: "ok",
        detail: `${paths.certificate} is signed by the cluster's authority, and valid until ${validUntil.toISOString()}`,
      },
    ];
  } catch (error) {
    if (error instanceof CertificateError) return [{ subject, state: "problem", detail: error.message }];
    throw error;
  }
}

/** A node that joins takes the cluster's store. */
async function clusterFinding(origin: string, apiKey: string | undefined): Promise<Finding> {
  const subject = "cluster";
  try {
    const { members, store } = await lookAt(origin, apiKey);
    const names = members.map(({ name }) => name).join(", ");
    return { subject, state: "ok", detail: `${names} over ${describeDescriptor(store)}` };
  } catch (error) {
    if (error instanceof JoinError) return { subject, state: "problem", detail: error.message };
    throw error;
  }
}

async function databaseFinding(place: StorePlace & { readonly kind: "postgres" }): Promise<Finding> {
  const subject = "store";
  try {
    const { isMade, warnings } = await PostgresStore.inspect(place.address);
    const detail = [`${describePlace(place)} ${isMade ? "is Kelpie's" : "has no store yet, and one will be made"}`, ...warnings].join("; ");
    return { subject, state: warnings.length === 0 ? "ok" : "note", detail };
  } catch (error) {
    return { subject, state: "problem", detail: error instanceof Error ? error.message : String(error) };
  }
}

function fileFinding(path: string): Finding {
  const subject = "store";
  try {
    if (!existsSync(path)) {
      let folder = dirname(path);
      while (!existsSync(folder)) folder = dirname(folder);
      accessSync(folder, constants.W_OK);
      return { subject, state: "ok", detail: `${path} will be made` };
    }
    accessSync(path, constants.R_OK | constants.W_OK);
    const problems = checkStoreFile(path);
    return problems.length === 0
      ? { subject, state: "ok", detail: `${path} is whole` }
      : { subject, state: "problem", detail: `${path} is damaged: ${problems.join("; ")}` };
  } catch (error) {
    return { subject, state: "problem", detail: error instanceof Error ? error.message : String(error) };
  }
}

async function portFinding(port: number, host: string): Promise<Finding> {
  const server = createServer();
  const problem = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once("error", resolve);
    server.listen(port, host, () => resolve(undefined));
  });
  await new Promise((resolve) => server.close(resolve));
  if (problem === undefined) return { subject: "port", state: "ok", detail: `${host}:${port} is free` };
  const isInUse = problem.code === "EADDRINUSE";
  return {
    subject: "port",
    state: "problem",
    detail: isInUse ? `${host}:${port} is in use, perhaps by a Kelpie that runs; another one is chosen with --port` : problem.message,
  };
}

function keyFinding(hasKey: boolean, host: string): Finding {
  const subject = "key";
  if (hasKey) return { subject, state: "ok", detail: "set (KELPIE_API_KEY): every request must carry it" };
  if (/^(localhost|127\.|::1$)/.test(host)) return { subject, state: "ok", detail: "none, and only this machine is served" };
  return { subject, state: "problem", detail: `none, and ${host} is reachable by others: set KELPIE_API_KEY` };
}

/** Without a sandbox everything but the code of tools works. */
async function sandboxFinding(environment: Environment, unisolatedAllowed: boolean): Promise<Finding> {
  const { isReady, detail } = await diagnoseSandbox(environment);
  const subject = "sandbox";
  if (isReady) return { subject, state: "ok", detail };
  const instead = unisolatedAllowed
    ? "the code of tools runs with all rights of the server, as KELPIE_UNISOLATED_TOOLS allows"
    : "untrusted code is refused";
  return { subject, state: "note", detail: `${detail}; ${instead}` };
}

async function modelsFinding(models: ModelCatalogue): Promise<Finding> {
  const handles = (await models.list()).map(({ handle }) => handle).filter((handle) => handle !== demoModelInfo.handle);
  const shown = handles.slice(0, 5).join(", ") + (handles.length > 5 ? " …" : "");
  if (handles.length > 0)
    return { subject: "models", state: "ok", detail: `${handles.length} reachable (${shown}); new agents get ${models.defaultHandle}` };
  return { subject: "models", state: "note", detail: `no provider answers; new agents get ${models.defaultHandle}` };
}
