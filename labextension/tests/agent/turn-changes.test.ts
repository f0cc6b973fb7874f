import { expect, test } from "vitest";
import { findCell, placeBelow, type SharedNotebook } from "../../src/agent/cells/notebook-cell";
import { longestRise, TurnChanges } from "../../src/agent/cells/turn-changes";
import { CountingRunner, notebook, sources } from "./notebooks";

const whole = ({ cells }: SharedNotebook): unknown[] => cells.map((cell) => cell.toJSON());
const never = new AbortController().signal;

test("undo restores cells, outputs and order exactly, after cells were run", async () => {
  const made = notebook("a = 1", "b = 2", "# Notes", "c = 3", "d = 4");
  const runner = new CountingRunner(made);
  await runner.run("cell-1", 1, never, () => undefined);
  const before = whole(made);
  const turn = new TurnChanges(made);
  expect(turn.isEmpty).toBe(true);
  const find = (id: string) => findCell(made, id);
  turn.change(find("cell-0"), "a = 10");
  turn.move(find("cell-4"), 0);
  turn.delete(find("cell-2"));
  const added = turn.add(1, "code", "new()");
  turn.change(find(added.id), "new(1)");
  turn.move(find("cell-1"), placeBelow(made, "cell-3"));
  await runner.run("cell-1", 1, never, () => turn.run(find("cell-1")));
  await runner.run("cell-3", 1, never, () => turn.run(find("cell-3")));
  expect(sources(made)).toEqual(["d = 4", "new(1)", "a = 10", "c = 3", "b = 2"]);
  expect(turn.report()).toEqual({ cells: 4, edited: 0, isMoved: true });
  expect(turn.hasRun).toBe(true);
  turn.undo();
  expect(whole(made)).toEqual(before);
  expect(turn.isEmpty).toBe(true);
});

test("what a person did meanwhile stays, and edits of the same cells are told of", () => {
  const made = notebook("a = 1", "b = 2", "c = 3");
  const turn = new TurnChanges(made);
  turn.change(findCell(made, "cell-0"), "a = 10");
  turn.move(findCell(made, "cell-2"), 0);
  // The person edits another cell, adds one, and edits the agent's.
  findCell(made, "cell-1").cell.setSource("b = 20");
  made.insertCell(2, { id: "own", cell_type: "code", source: "own()" });
  expect(sources(made)).toEqual(["c = 3", "a = 10", "own()", "b = 20"]);
  expect(turn.report()).toMatchObject({ cells: 1, edited: 0 });
  findCell(made, "cell-0").cell.setSource("a = 11");
  expect(turn.report()).toMatchObject({ cells: 1, edited: 1 });
  turn.undo();
  expect(sources(made)).toEqual(["a = 1", "own()", "b = 20", "c = 3"]);
});

test("a cell that the person deleted comes back, and one that the agent added is no edit", () => {
  const made = notebook("a = 1", "b = 2");
  const turn = new TurnChanges(made);
  turn.change(findCell(made, "cell-0"), "a = 10");
  const added = turn.add(2, "markdown", "Text");
  made.deleteCell(0);
  expect(turn.report()).toMatchObject({ cells: 2, edited: 1 });
  added.setSource("Other");
  expect(turn.report()).toMatchObject({ cells: 2, edited: 2 });
  turn.undo();
  expect(sources(made)).toEqual(["a = 1", "b = 2"]);
});

test("few cells move to bring many into order", () => {
  expect(longestRise([4, 0, 1, 2, 3])).toEqual([0, 1, 2, 3]);
  expect(longestRise([2, 1, 0])).toEqual([2]);
  expect(longestRise([])).toEqual([]);
});
