/** Tables of the contract of stores: keys, batches and checks. */
import { add, counterText, del, delRange, set, type Space } from "./store-harness.contract.ts";
import type { Key, Write } from "./store.ts";

export const oddKeys: readonly Key[] = [
  "",
  "00",
  "0000",
  "0001",
  "00ff",
  "01",
  "20",
  "7f",
  "80",
  "8000",
  "c3a9",
  "fe",
  "feff",
  "ff",
  "ff00",
  "ffff",
  "ffffff",
  "61",
  "6100",
  "6161",
  "62",
]
  .map((key) => Uint8Array.from(Buffer.from(key, "hex")))
  .concat(new Uint8Array(9_000).fill(0x62));

/** Title, what is there, what the batch writes, what is there afterwards. */
export const batchCases: readonly (readonly [
  string,
  Readonly<Record<string, string>>,
  (at: Space) => Write[],
  Readonly<Record<string, string>>,
])[] = [
  ["a set makes a key", {}, (at) => [set(at("a"), "1")], { a: "1" }],
  ["a set replaces a value", { a: "1" }, (at) => [set(at("a"), "2")], { a: "2" }],
  ["a set replaces a long value with a short one", { a: "x".repeat(50_000) }, (at) => [set(at("a"), "")], { a: "" }],
  ["a set replaces a short value with a long one", { a: "" }, (at) => [set(at("a"), "x".repeat(50_000))], { a: "x".repeat(50_000) }],
  ["the last of two sets stays", {}, (at) => [set(at("a"), "1"), set(at("a"), "2")], { a: "2" }],
  ["a delete removes a key", { a: "1", b: "1" }, (at) => [del(at("a"))], { b: "1" }],
  ["a delete of an absent key is nothing", { b: "1" }, (at) => [del(at("a"))], { b: "1" }],
  ["a delete after a set removes the key", {}, (at) => [set(at("a"), "1"), del(at("a"))], {}],
  ["a set after a delete makes the key", { a: "1" }, (at) => [del(at("a")), set(at("a"), "2")], { a: "2" }],
  ["a delete of a key leaves longer keys", { a: "1", aa: "2", "a\0": "3" }, (at) => [del(at("a"))], { aa: "2", "a\0": "3" }],
  ["a range holds its begin and not its end", { a: "1", b: "2", c: "3", d: "4" }, (at) => [delRange(at("b"), at("d"))], { a: "1", d: "4" }],
  ["an empty range is nothing", { a: "1", b: "2" }, (at) => [delRange(at("b"), at("b"))], { a: "1", b: "2" }],
  ["a range from back to front is nothing", { a: "1", b: "2", c: "3" }, (at) => [delRange(at("c"), at("a"))], { a: "1", b: "2", c: "3" }],
  ["a range without keys is nothing", { a: "1", d: "4" }, (at) => [delRange(at("b"), at("c"))], { a: "1", d: "4" }],
  ["a range over all removes all", { a: "1", b: "2", c: "3" }, (at) => [delRange(at(""), at("~"))], {}],
  [
    "overlapping ranges remove what is in either",
    { a: "1", b: "2", c: "3", d: "4" },
    (at) => [delRange(at("a"), at("c")), delRange(at("b"), at("d"))],
    { d: "4" },
  ],
  ["a range removes what the batch set before", {}, (at) => [set(at("a"), "1"), set(at("b"), "2"), delRange(at("a"), at("b"))], { b: "2" }],
  ["a range leaves what the batch sets after", { a: "1" }, (at) => [delRange(at("a"), at("z")), set(at("b"), "2")], { b: "2" }],
  ["set, range, set of one key", { a: "0" }, (at) => [set(at("a"), "1"), delRange(at("a"), at("b")), set(at("a"), "2")], { a: "2" }],
  ["range, set, range", { a: "0" }, (at) => [delRange(at("a"), at("b")), set(at("a"), "1"), delRange(at("a"), at("b"))], {}],
  ["an add after a set of text starts at 0", {}, (at) => [set(at("a"), "text"), add(at("a"), 1n)], { a: counterText(1n) }],
  ["an add after a delete starts at 0", { a: counterText(41n) }, (at) => [del(at("a")), add(at("a"), 1n)], { a: counterText(1n) }],
  [
    "an add after a range starts at 0",
    { a: counterText(41n) },
    (at) => [delRange(at("a"), at("b")), add(at("a"), 1n)],
    { a: counterText(1n) },
  ],
  ["a delete after an add removes the counter", {}, (at) => [add(at("a"), 1n), del(at("a"))], {}],
  ["a set after an add stays", {}, (at) => [add(at("a"), 1n), set(at("a"), "2")], { a: "2" }],
  ["a range after an add removes the counter", {}, (at) => [add(at("a"), 1n), delRange(at("a"), at("b"))], {}],
  ["adds of one batch add up", { a: counterText(1n) }, (at) => [add(at("a"), 2n), add(at("a"), 3n)], { a: counterText(6n) }],
  [
    "writes to different keys all happen",
    { d: "0" },
    (at) => [set(at("a"), "1"), add(at("b"), 2n), set(at("c"), "3"), del(at("d"))],
    { a: "1", b: counterText(2n), c: "3" },
  ],
];

export type CheckState = "current" | "older" | "absent";

/** Title, keys that are there, the checks, the index of the one that fails. */
export const checkCases: readonly (readonly [string, readonly string[], readonly (readonly [string, CheckState])[], number | undefined])[] =
  [
    ["none", ["a"], [], undefined],
    ["absent, of a key that is", [], [["a", "absent"]], undefined],
    ["absent, of a key that is not", ["a"], [["a", "absent"]], 0],
    ["the current version", ["a"], [["a", "current"]], undefined],
    ["an older version", ["a"], [["a", "older"]], 0],
    ["a version of a key that is absent", [], [["a", "current"]], 0],
    [
      "two that hold",
      ["a", "b"],
      [
        ["a", "current"],
        ["b", "current"],
      ],
      undefined,
    ],
    [
      "the second fails",
      ["a", "b"],
      [
        ["a", "current"],
        ["b", "older"],
      ],
      1,
    ],
    [
      "two fail and the first is named",
      ["a", "b"],
      [
        ["a", "older"],
        ["b", "older"],
      ],
      0,
    ],
    [
      "the last of many fails",
      ["a", "b"],
      [
        ["a", "current"],
        ["b", "current"],
        ["c", "absent"],
        ["d", "absent"],
        ["e", "current"],
      ],
      4,
    ],
    [
      "one that holds, twice",
      ["a"],
      [
        ["a", "current"],
        ["a", "current"],
      ],
      undefined,
    ],
    [
      "two of one key that exclude each other",
      ["a"],
      [
        ["a", "current"],
        ["a", "absent"],
      ],
      1,
    ],
    ["of a key that the batch does not write", ["other"], [["other", "current"]], undefined],
    ["a failing one of a key that the batch does not write", ["other"], [["other", "absent"]], 0],
  ];
