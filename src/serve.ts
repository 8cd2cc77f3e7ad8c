/** `kelpie serve` on this machine: settings in, a running server out. */
import { hostname } from "node:os";
import { RowDamagedError } from "./base/json.ts";
import { CommandError, UsageError } from "./cli/command.ts";
import type { RunningServer } from "./cli/program.ts";
import type { CertificatePaths } from "./cluster/certificate-files.ts";
import { CertificateError } from "./cluster/check-certificates.ts";
import { IncompatibleNodeError, NodeNameTakenError } from "./cluster/cluster.ts";
import { JoinError } from "./cluster/join.ts";
import { HandshakeError } from "./cluster/transport.ts";
import { type Config, ConfigError, type LoadedConfig, loadConfig, settings } from "./config.ts";
import { RealEnvironment } from "./environment/real-environment.ts";
import type { ClusterSettings } from "./join-cluster.ts";
import { createKelpie } from "./kelpie.ts";
import { ModelError, ModelNotFoundError } from "./models/model.ts";
import { ModelCatalogue } from "./models/model-catalogue.ts";
import { configuredProviders, ProviderConfigurationError } from "./models/providers.ts";
import { ListenError } from "./server/listen.ts";
import type { ClusterView } from "./server/services.ts";
import { FoundationDbMissingError } from "./storage/foundationdb-native.ts";
import { FoundationDbFormatError } from "./storage/foundationdb-rows.ts";
import { SealError } from "./storage/sealing-key.ts";
import { PostgresDatabaseError } from "./storage/postgres-schema.ts";
import { StoreFileError } from "./storage/sqlite-file.ts";
import { StoreUnavailableError } from "./storage/store.ts";
import type { Supervisor } from "./supervision.ts";

type Variables = Readonly<Record<string, string | undefined>>;

export async function serve(
  options: ReadonlyMap<string, string>,
  variables: Variables,
  supervisor: Supervisor | undefined,
): Promise<RunningServer> {
  const { config, warnings, providers, models, environment } = loadServices(options, variables);
  // Which model new agents get is known once the providers have told theirs; the store opens meanwhile.
  const asked = config.defaultModel === undefined && Object.keys(providers).length > 0 ? models.list() : undefined;
  const fenced = Promise.withResolvers<Error>();
  const cluster = clusterSettings(config, {
    placeBefore: supervisor?.before?.place,
    onFenced: fenced.resolve,
    onNamed: (node, place) => supervisor?.named(node, place),
  });
  const kelpie = await opened(
    createKelpie({
      environment,
      models,
      dataDirectory:
        config.join !== undefined && config.dataDirectory === settings.dataDirectory.default ? undefined : config.dataDirectory,
      storeAddress: config.storeAddress,
      sealingKey: config.sealingKey,
      newSealingKey: config.newSealingKey,
      publicUrl: config.publicUrl,
      unisolatedTools: config.unisolatedTools,
      cluster,
      stopMilliseconds: config.stopSeconds * 1_000,
      leaveMilliseconds: config.leaveSeconds * 1_000,
    }),
  );
  try {
    await asked;
    const missing = await missingModel(models);
    // One that was started again serves where it did before.
    const port = config.port === 0 ? (supervisor?.before?.port ?? 0) : config.port;
    const listening = await opened(kelpie.serve({ port, host: config.host, apiKey: config.apiKey }));
    supervisor?.ready(Number(new URL(listening.url).port));
    return {
      url: listening.url,
      data: kelpie.data,
      node: kelpie.cluster && describeNode(kelpie.cluster),
      model: models.defaultHandle,
      hasKey: config.apiKey !== undefined,
      warnings: missing === undefined ? warnings : [...warnings, missing],
      startMilliseconds: performance.now(),
      isSupervised: supervisor !== undefined,
      fenced: fenced.promise,
      stop: () => kelpie.close(),
    };
  } catch (error) {
    await kelpie.close();
    throw error;
  }
}

function describeNode({ node, members }: ClusterView): string {
  const others = members.filter((member) => member.node !== node).map(({ name }) => name);
  const name = members.find((member) => member.node === node)?.name ?? node;
  return `${name}, ${others.length === 0 ? "the only one so far" : `with ${others.join(", ")}`}`;
}

/** Undefined: this node is alone. */
function clusterSettings(
  config: Config,
  listener: Pick<ClusterSettings, "placeBefore" | "onFenced" | "onNamed">,
): ClusterSettings | undefined {
  const { nodeName, join, apiKey, clusterSecret: secret, clusterHost: host, clusterPort: port, capacity } = config;
  if (nodeName === undefined && join === undefined) return undefined;
  // Another one for every server of this host, and the same when it is started again.
  const name =
    nodeName ??
    `${hostname()
      .replaceAll(/[^a-zA-Z0-9._-]/g, "-")
      .slice(0, 50)}-${config.port === 0 ? process.pid : config.port}`;
  return { name, join, apiKey, secret, host, port, capacity, certificates: certificatesOf(config), ...listener };
}

/** TLS between nodes, if the settings ask for it: all three of its files. */
export function certificatesOf({ clusterCertificate, clusterKey, clusterAuthority }: Config): CertificatePaths | undefined {
  if (clusterCertificate === undefined || clusterKey === undefined || clusterAuthority === undefined) return undefined;
  return { certificate: clusterCertificate, key: clusterKey, authority: clusterAuthority };
}

/** That the default model is not to be had now: it may be, once a provider is running or was made through the API. */
async function missingModel(models: ModelCatalogue): Promise<string | undefined> {
  try {
    await models.describe(models.defaultHandle);
    return undefined;
  } catch (error) {
    if (error instanceof ModelNotFoundError || error instanceof ModelError) return error.message;
    throw error;
  }
}

/** The settings, and what is made of them before anything is opened. @throws {UsageError} */
export function loadServices(
  options: ReadonlyMap<string, string>,
  variables: Variables,
): LoadedConfig & { readonly models: ModelCatalogue; readonly environment: RealEnvironment } {
  try {
    const loaded = loadConfig(options, variables);
    const { config } = loaded;
    const environment = new RealEnvironment({ level: config.logLevel, json: config.logFormat === "json" });
    const storePassword = URL.parse(config.storeAddress ?? "")?.password;
    environment.log.hide([config.apiKey, config.clusterSecret, storePassword].filter((secret) => secret !== undefined));
    const silence = config.modelTimeoutSeconds * 1_000;
    const models = new ModelCatalogue({
      environment,
      providers: configuredProviders(loaded.providers),
      defaultHandle: config.defaultModel,
      discoverLocal: config.discoverLocal,
      contextWindowMax: config.contextWindowMax,
      demoTokenMilliseconds: config.demoTokenMilliseconds,
      limits: { firstByteMillisecondsMax: silence, silenceMillisecondsMax: silence },
    });
    return { ...loaded, models, environment };
  } catch (error) {
    if (error instanceof ConfigError || error instanceof ProviderConfigurationError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

const expectedErrors = [
  StoreFileError,
  PostgresDatabaseError,
  FoundationDbFormatError,
  FoundationDbMissingError,
  StoreUnavailableError,
  RowDamagedError,
  SealError,
  ListenError,
  JoinError,
  CertificateError,
  HandshakeError,
  NodeNameTakenError,
  IncompatibleNodeError,
];

/** What can be in the way of a start, and that a person can do something about. */
async function opened<T>(opening: Promise<T>): Promise<T> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof Error && expectedErrors.some((each) => error instanceof each))
      throw new CommandError(error.message, { cause: error });
    throw error;
  }
}
