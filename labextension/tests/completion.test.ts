import { expect, test } from "vitest";
import { type CellText, languageOf, nearestCells } from "../src/base/cell-text";
import { shortParts } from "../src/base/short-parts";
import { decide } from "../src/completion/availability";
import { inlineRequest } from "../src/completion/completion-request";
import { parseVariables, variablesExpression } from "../src/kernel/variable-list";

const cell = (text: string, cell_type: CellText["cell_type"] = "code"): CellText => ({
  text,
  cell_type,
});

test("code is completed, prose and other languages of magics are not", () => {
  expect(languageOf("text/x-ipython", "x = 1")).toBe("python");
  expect(languageOf("text/x-ipython", "%%time\nx = 1")).toBe("python");
  expect(languageOf("text/x-ipython", "%%chat\nWhat is")).toBeUndefined();
  expect(languageOf("text/x-ipython", "%%bash\nls")).toBeUndefined();
  expect(languageOf("text/x-ipythongfm", "A text")).toBeUndefined();
  expect(languageOf("text/x-rsrc", "x <- 1")).toBe("r");
  expect(languageOf("text/x-julia", "x")).toBe("julia");
});

test("of the cells before, the nearest are sent, in their order", () => {
  const cells = [cell("far ".repeat(100)), cell(" "), cell("b".repeat(50)), cell("c".repeat(20))];
  // Ten tokens are at most eighty characters.
  expect(nearestCells(cells, 10)).toEqual([
    cell("r far far "),
    cell("b".repeat(50)),
    cell("c".repeat(20)),
  ]);
  expect(nearestCells(cells, 0)).toEqual([]);
});

test("a request holds what stands around the cursor, cells, and variables without values", () => {
  const body = inlineRequest({
    text: "print(x)",
    offset: 6,
    language: "python",
    cells: [cell("x = 1"), cell("# Title", "markdown")],
    variables: [{ name: "x", type: "int", note: "" }],
    tokens: 100,
    model: "",
  });
  expect(body).toEqual({
    prefix: "print(",
    suffix: "x)",
    language: "python",
    context: [
      { kind: "cell", text: "x = 1", cell_type: "code" },
      { kind: "cell", text: "# Title", cell_type: "markdown" },
      { kind: "variable", name: "x", type: "int", note: "" },
    ],
    max_context_tokens: 100,
  });
});

test("values are asked for only where that is allowed", () => {
  expect(variablesExpression("types")).not.toContain("repr");
  expect(variablesExpression("values")).toContain("repr");
});

test("an answer of the kernel may hold any characters", () => {
  const rows = [["größe", "int", "1"]];
  const encoded = Buffer.from(JSON.stringify(rows)).toString("base64");
  expect(parseVariables(encoded)).toEqual([{ name: "größe", type: "int", note: "1" }]);
});

const small = { available: false, model: null, reason: "Too small." };
const good = { available: true, model: "coder", reason: null };
const set = (completions: "auto" | "on" | "off", completionModel = "") => ({
  completions,
  completionModel,
});

test("completions are on by themselves only with a model that is good enough", () => {
  expect(decide(set("auto"), good, "coder")).toEqual({ isOn: true, model: "", remark: "" });
  expect(decide(set("auto"), small, "tiny-chat")).toEqual({
    isOn: false,
    model: "",
    remark: "Too small. To switch on: the command Complete Code While Typing.",
  });
  expect(decide(set("auto"), undefined, null).isOn).toBe(false);
  expect(decide(set("auto", "mine"), small, "tiny-chat")).toMatchObject({
    isOn: true,
    model: "mine",
  });
});

test("the settings may demand them with any model, or forbid them", () => {
  expect(decide(set("on"), small, "tiny-chat")).toEqual({
    isOn: true,
    model: "tiny-chat",
    remark: "Too small.",
  });
  expect(decide(set("off", "mine"), good, "coder").isOn).toBe(false);
});

test("where nobody serves completions, the person who asks for one reads why", () => {
  const gone = { isOn: false, model: "", remark: "The server is off." };
  expect(decide(set("on", "mine"), undefined, null, "The server is off.")).toEqual(gone);
});

test("a long message is told in parts that end with a sentence", () => {
  expect(shortParts("One is here. Two is v1.5. Three.", 26)).toEqual([
    "One is here. Two is v1.5.",
    "Three.",
  ]);
  expect(shortParts("A sentence that is too long.", 5)).toEqual(["A sentence that is too long."]);
});
