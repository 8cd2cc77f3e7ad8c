import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { pythonSchema, PythonSchemaError } from "./python-schema.ts";

test("A signature with a docstring gives names, types, defaults and descriptions", () => {
  const source = `
import math

def helper(x):
    return x

async def roll_dice(
    sides: int,  # how many, "really"
    label: str = "a, (b) = c",
    rates: List[float] = [1.0, 2.0],
    *,
    mode: Literal["sum", "max"] = 'sum',
    extra: Optional[dict] = None,
    flag: bool | None = None,
    agent_state: "AgentState" = None,
) -> str:
    """
    Rolls dice.

    More about it: it is fair.

    Args:
        sides (int): How many sides,
            at least two.
        label: What to call it.
        mode (str): Sum or max.

    Returns:
        str: The result.
    """
    return "def fake(x):"
`;
  assert.deepEqual(pythonSchema(source), {
    name: "roll_dice",
    description: "Rolls dice.\n\nMore about it: it is fair.",
    parameters: {
      type: "object",
      properties: {
        sides: { type: "integer", description: "How many sides, at least two." },
        label: { type: "string", description: "What to call it." },
        rates: { type: "array", items: { type: "number" } },
        mode: { type: "string", enum: ["sum", "max"], description: "Sum or max." },
        extra: { type: "object" },
        flag: { type: "boolean" },
      },
      required: ["sides"],
    },
  });
});

for (const [source, properties, required] of [
  ["def f(): pass", {}, []],
  ["def f(a: str, b: 'int'):\r\n    '''One.'''\r\n", { a: { type: "string" }, b: { type: "integer" } }, ["a", "b"]],
  [
    "def f(a: list, b: list[list[int]]):\n  ...",
    { a: { type: "array", items: { type: "string" } }, b: { type: "array", items: { type: "array", items: { type: "integer" } } } },
    ["a", "b"],
  ],
  ["def f(a: Dict[str, int] = {'x': 1}):\n  ...", { a: { type: "object" } }, []],
  ["def f(self, a: None | str):\n  ...", { a: { type: "string" } }, []],
] as const)
  test(`${JSON.stringify(source)} has the parameters ${JSON.stringify(properties)}`, () =>
    assert.deepEqual(pythonSchema(source).parameters, { type: "object", properties, required }));

for (const [source, expected] of [
  ["x = 1", /no function at its top level/],
  ["class A:\n    def f(self): pass", /no function at its top level/],
  ["def f(a): pass", /parameter a of f has no type/],
  ["def f(a: Foo): pass", /type Foo of the parameter a of f: use str, int/],
  ["def f(a: int | str): pass", /type int \| str/],
  ["def f(a: Literal[1, 2]): pass", /type Literal\[1, 2\]/],
  ["def f(*args): pass", /takes \*args, which has no schema/],
  ["def f(a: int", /no closing parenthesis/],
  ["def f(a: int)\n  pass", /does not end with a colon/],
  ["def f(a: toString): pass", /type toString/],
] as const)
  test(`${JSON.stringify(source)} is refused, and json_schema named as the way out where it is one`, () =>
    assert.throws(
      () => pythonSchema(source),
      (error) => error instanceof PythonSchemaError && expected.test(error.message),
    ));

test("Any text gives a schema or a PythonSchemaError", () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(
          "def f",
          "(",
          ")",
          "[",
          "]",
          '"',
          "'",
          '"""',
          "#",
          "\n",
          ":",
          "=",
          ",",
          "a",
          "int",
          " ",
          "\\",
          "Args:",
          "*",
          "|",
          "None",
        ),
      }),
      (text) => {
        try {
          return typeof pythonSchema(`def f(${text}`).name === "string";
        } catch (error) {
          return error instanceof PythonSchemaError;
        }
      },
    ),
    { numRuns: 500 },
  );
});
