/** Writes docs/reference/configuration.md from the table of settings in src/config.ts. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clientVariables, ignoredVariables, providerVariables, type Setting, settings } from "../src/config.ts";
import { root } from "./parts.ts";

export const pagePath: string = join(root, "docs", "reference", "configuration.md");

export function configurationPage(): string {
  const rows = Object.values<Setting<unknown>>(settings).map((setting) => [
    setting.flag === undefined ? "" : `\`--${setting.flag}\``,
    setting.variables.map((name) => `\`${name}\``).join(", "),
    setting.type,
    setting.default === undefined ? "" : `\`${shownDefault(setting.default)}\``,
    setting.meaning,
  ]);
  return [
    "# Configuration",
    "",
    "<!-- Written by `npm run configuration-page` from src/config.ts; a test keeps them equal. -->",
    "",
    "A flag comes before a variable, and the first variable of a row before the others. An empty variable counts as not set.",
    "An unknown flag, an unknown `KELPIE_` variable and a malformed value are errors when Kelpie starts (exit code 2).",
    "Secrets have no flag, because other users of a machine see the arguments of its processes.",
    "",
    "## The server",
    "",
    ...markdownTable(["Flag of `kelpie serve`", "Variables", "Value", "Default", "Meaning"], rows),
    "",
    "## Providers of models",
    "",
    "Setting one of these makes a provider's models available; `kelpie doctor` shows which ones are.",
    "",
    ...markdownTable(
      ["Variable", "Value", "Provider"],
      providerVariables.map(({ name, type, meaning }) => [`\`${name}\``, type, meaning]),
    ),
    "",
    "## Commands that talk to a server",
    "",
    ...markdownTable(
      ["Variable", "Meaning"],
      clientVariables.map(({ name, meaning }) => [`\`${name}\``, meaning]),
    ),
    "",
    "## Letta V1's variables that mean nothing here",
    "",
    "They are accepted, and a note at the start says that they are ignored. `SECURE` and `LETTA_SERVER_SECURE` are not among",
    "them: Kelpie always requires a key that is set, and refuses to start if one of them is `true` and no key is.",
    "",
    ...markdownTable(
      ["Variable", "Why"],
      Object.entries(ignoredVariables).map(([name, why]) => [`\`${name}\``, why]),
    ),
    "",
  ].join("\n");
}

function shownDefault(value: unknown): string {
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
}

if (import.meta.main) writeFileSync(pagePath, configurationPage());
