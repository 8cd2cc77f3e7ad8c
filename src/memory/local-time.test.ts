import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { localIsoTime, localTime, parseTime, timeAgo } from "./local-time.ts";
import { InvalidMemoryError } from "./memory.ts";

for (const [text, zone, endOfDay, expected] of [
  ["2024-01-15", "UTC", false, "2024-01-15T00:00:00.000Z"],
  ["2024-01-15", "UTC", true, "2024-01-15T23:59:59.999Z"],
  ["2024-01-15", "America/New_York", false, "2024-01-15T05:00:00.000Z"],
  ["2024-03-10", "America/New_York", true, "2024-03-11T03:59:59.999Z"],
  ["2024-07-01T14:30", "Europe/Berlin", false, "2024-07-01T12:30:00.000Z"],
  ["2024-07-01 14:30:15.123456", "Asia/Kolkata", false, "2024-07-01T09:00:15.123Z"],
  ["2024-07-01T14:30:00+02:00", "Asia/Tokyo", true, "2024-07-01T12:30:00.000Z"],
  ["2024-07-01T14:30:00-0330", "UTC", false, "2024-07-01T18:00:00.000Z"],
  ["2024-07-01t14:30z", "UTC", false, undefined],
  ["2024-02-29", "UTC", false, "2024-02-29T00:00:00.000Z"],
  ["2023-02-29", "UTC", false, undefined],
  ["2024-13-01", "UTC", false, undefined],
  ["2024-01-01T25:00", "UTC", false, undefined],
  ["yesterday", "UTC", false, undefined],
  ["", "UTC", false, undefined],
  ["2024-01-15", "Mars/Olympus", false, "2024-01-15T00:00:00.000Z"],
] as const)
  test(`${JSON.stringify(text)} in ${zone}${endOfDay ? " at the end of the day" : ""} is ${expected ?? "refused"}`, () => {
    if (expected === undefined) assert.throws(() => parseTime("start_date", text, zone, endOfDay), InvalidMemoryError);
    else assert.equal(new Date(parseTime("start_date", text, zone, endOfDay)).toISOString(), expected);
  });

test("A local time parses back to its moment, in every zone", () => {
  const zone = fc.constantFrom("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago");
  fc.assert(fc.property(fc.integer({ min: 0, max: 4e12 }), zone, (time, name) => parseTime("t", localIsoTime(time, name), "UTC") === time));
});

for (const [time, zone, expected] of [
  [0, "UTC", "1970-01-01 12:00:00 AM UTC+0000"],
  [Date.UTC(2026, 6, 1, 12), "America/Los_Angeles", "2026-07-01 05:00:00 AM PDT-0700"],
  [Date.UTC(2026, 6, 1, 18), "Asia/Kolkata", "2026-07-01 11:30:00 PM GMT+0530"],
  [Date.UTC(2026, 6, 1, 12), "nowhere", "2026-07-01 12:00:00 PM UTC+0000"],
] as const)
  test(`${time} in ${zone} reads ${expected}`, () => assert.equal(localTime(time, zone), expected));

for (const [milliseconds, expected] of [
  [-5, "0s ago"],
  [59_999, "59s ago"],
  [60_000, "1m ago"],
  [3_600_000, "1h ago"],
  [3 * 86_400_000, "3d ago"],
] as const)
  test(`${milliseconds} ms are ${expected}`, () => assert.equal(timeAgo(milliseconds), expected));
