/** Times as people and models write them, in a time zone. */
import { InvalidMemoryError, quote } from "./memory.ts";

const dayMilliseconds = 86_400_000;
/** Year 1 to 9999: outside, ISO texts no longer sort by time. */
const earliest = Date.UTC(2000, 0, 1) - 1999 * 365.25 * dayMilliseconds;
const latest = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** As Letta writes times for a model: `2026-01-31 09:00:00 AM UTC+0000`. An unknown zone counts as UTC. */
export function localTime(unixMilliseconds: number, timezone: string): string {
  const zone = isTimezone(timezone) ? timezone : "UTC";
  const iso = new Date(unixMilliseconds + offsetMinutes(unixMilliseconds, zone) * 60_000).toISOString();
  const hour = Number(iso.slice(11, 13));
  const twelve = String(hour % 12 === 0 ? 12 : hour % 12).padStart(2, "0");
  return `${iso.slice(0, 10)} ${twelve}:${iso.slice(14, 19)} ${hour < 12 ? "AM" : "PM"} ${zoneName(unixMilliseconds, zone)}${offsetText(unixMilliseconds, zone).replace(":", "")}`;
}

/** ISO 8601 with the zone's offset: `2026-01-31T09:00:00.000+01:00`. */
export function localIsoTime(unixMilliseconds: number, timezone: string): string {
  const zone = isTimezone(timezone) ? timezone : "UTC";
  const iso = new Date(unixMilliseconds + offsetMinutes(unixMilliseconds, zone) * 60_000).toISOString();
  return `${iso.slice(0, -1)}${offsetText(unixMilliseconds, zone)}`;
}

/**
 * Unix milliseconds of a time in ISO 8601. Without an offset it is in `timezone`; a date alone is the start of that
 * day there, or its last millisecond if `endOfDay`.
 *
 * @throws {InvalidMemoryError}
 */
export function parseTime(field: string, text: string, timezone: string, endOfDay = false): number {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)(Z|z|[+-]\d{2}:?\d{2})?)?$/.exec(text.trim());
  const invalid = new InvalidMemoryError(
    field,
    `Invalid ${field} format: ${quote(text)}. Use ISO 8601 format (YYYY-MM-DD or YYYY-MM-DDTHH:MM)`,
  );
  if (match === null) throw invalid;
  const [, day, time = "00:00", offset] = match;
  // The parser of JavaScript knows milliseconds; finer digits are dropped.
  const clock = time.replace(",", ".").replace(/(\.\d{3})\d+$/, "$1");
  const colonOffset = offset === undefined ? "Z" : offset.toUpperCase().replace(/^([+-]\d{2})(\d{2})$/, "$1:$2");
  const written = Date.parse(`${day}T${clock}${colonOffset}`);
  // Date.parse turns 30 February into 2 March; such a day does not come back.
  const exists = Number.isFinite(written) && new Date(Date.parse(`${day}T00:00Z`)).toISOString().startsWith(day!);
  if (!exists || written < earliest || written > latest) throw invalid;
  const zone = isTimezone(timezone) ? timezone : "UTC";
  if (match[2] === undefined) return endOfDay ? toUnix(written + dayMilliseconds, zone) - 1 : toUnix(written, zone);
  return offset === undefined ? toUnix(written, zone) : written;
}

/** How long ago, in the largest unit that fits: `42s ago`, `3d ago`. */
export function timeAgo(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86_400)}d ago`;
}

export function isTimezone(timezone: string): boolean {
  try {
    formatOf(timezone, "longOffset");
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** The moment at which clocks in `zone` show what a clock in UTC shows at `wall`. */
function toUnix(wall: number, zone: string): number {
  // The offset belongs to the moment that is looked for; the second look corrects a change of the clocks in between.
  const guess = wall - offsetMinutes(wall, zone) * 60_000;
  return wall - offsetMinutes(guess, zone) * 60_000;
}

function offsetMinutes(unixMilliseconds: number, zone: string): number {
  const match = /^([+-])(\d{2}):(\d{2})/.exec(offsetText(unixMilliseconds, zone));
  return match === null ? 0 : (match[1] === "-" ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3]));
}

function offsetText(unixMilliseconds: number, zone: string): string {
  const name = namePart(formatOf(zone, "longOffset"), unixMilliseconds).replace("GMT", "");
  return name === "" ? "+00:00" : name.slice(0, 6);
}

function zoneName(unixMilliseconds: number, zone: string): string {
  return /^[A-Z]+/.exec(namePart(formatOf(zone, "short"), unixMilliseconds))?.[0] ?? "UTC";
}

function namePart(format: Intl.DateTimeFormat, unixMilliseconds: number): string {
  return format.formatToParts(new Date(unixMilliseconds)).find((part) => part.type === "timeZoneName")!.value;
}

/** Making a format costs a hundred times as much as using it. Holds at most two for each zone that exists. */
const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string, timeZoneName: "longOffset" | "short"): Intl.DateTimeFormat {
  const key = `${timeZoneName} ${zone}`;
  const known = formats.get(key);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName });
  if (formats.size > 1_000) formats.clear();
  formats.set(key, format);
  return format;
}
