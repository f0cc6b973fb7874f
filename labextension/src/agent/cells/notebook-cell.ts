/** The cells of a notebook, found by their ids. */

import type { IOutput } from "@jupyterlab/nbformat";
import type { INotebookModel } from "@jupyterlab/notebook";
import { ToolError } from "../tool-error";

export type SharedNotebook = INotebookModel["sharedModel"];
export type SharedCell = SharedNotebook["cells"][number];

export interface PlacedCell {
  /** A cell that was moved or deleted has lost its own. */
  id: string;
  cell: SharedCell;
  /** Its place, from 0. */
  at: number;
}

// The ids that Jupyter makes are much longer than what tells cells apart.
const ID_CHARACTERS = 8;

/** The beginning of a cell's id: what the model is told. */
export const shortId = ({ id }: { readonly id: string }): string => id.slice(0, ID_CHARACTERS);

/** The place as people count. */
export const placeName = ({ at }: Pick<PlacedCell, "at">): string => `cell ${at + 1}`;

export const outputsOf = (cell: SharedCell): IOutput[] =>
  cell.cell_type === "code" ? ((cell.toJSON().outputs ?? []) as IOutput[]) : [];

/**
 * Find the cell of an id.
 *
 * @throws ToolError if there is no such cell, or more than one that begins so.
 */
export function findCell({ cells }: SharedNotebook, id: string): PlacedCell {
  const exact = cells.findIndex((cell) => cell.id === id);
  const found =
    exact >= 0
      ? [exact]
      : cells.flatMap((cell, at) =>
          id.length >= Math.min(4, cell.id.length) && cell.id.startsWith(id) ? [at] : [],
        );
  const at = found[0];
  const cell = at === undefined ? undefined : cells[at];
  if (at === undefined || cell === undefined)
    throw new ToolError(`There is no cell ${JSON.stringify(id)}. read_notebook lists the ids.`);
  if (found.length > 1)
    throw new ToolError(`Several cells begin with ${JSON.stringify(id)}: give the whole id.`);
  return { id: cell.id, cell, at };
}

/** Find the place below a cell; the end if no cell is given. */
export function placeBelow(notebook: SharedNotebook, after: string | undefined): number {
  if (after === undefined) return notebook.cells.length;
  return after === "start" ? 0 : findCell(notebook, after).at + 1;
}

/** @throws ToolError if the cell's author has locked it. */
export function checkEditable({ cell, at }: PlacedCell, key: "editable" | "deletable"): void {
  if (cell.getMetadata(key) === false)
    throw new ToolError(`${capital(placeName({ at }))} is marked as not ${key}.`);
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
