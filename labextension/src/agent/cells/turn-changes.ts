/** What a turn has changed in a notebook, and how it is undone. */

import type { ICell } from "@jupyterlab/nbformat";
import type { PlacedCell, SharedCell, SharedNotebook } from "./notebook-cell";

/** A text that stays the same as long as the cell does. */
const written = (cell: ICell): string => JSON.stringify(cell);

/** What undoing a turn would do, and what it would take away. */
export interface UndoReport {
  /** How many cells are put back or removed. */
  cells: number;
  /** Whether cells are moved. */
  isMoved: boolean;
  /** Cells that somebody has edited after the agent. */
  edited: number;
}

/**
 * One turn's changes of a notebook. It holds the cells as they were when it began, which `undo`
 * brings back. Cells that the agent has not touched stay as they are.
 */
export class TurnChanges {
  private readonly before = new Map<string, ICell>();
  /** The cells that the agent has touched, as it left their text; null: it deleted them. */
  private readonly left = new Map<string, string | null>();
  private isMoved = false;
  hasRun = false;

  constructor(private readonly notebook: SharedNotebook) {
    for (const cell of notebook.cells) this.before.set(cell.id, structuredClone(cell.toJSON()));
  }

  /** Whether the notebook has been closed, so that nothing can be undone. */
  get isGone(): boolean {
    return this.notebook.isDisposed;
  }

  get isEmpty(): boolean {
    return this.left.size === 0 && !this.isMoved;
  }

  /** Insert a cell; return it. */
  add(at: number, type: "code" | "markdown", source: string): SharedCell {
    const cell = this.notebook.insertCell(at, { cell_type: type, source, metadata: {} });
    this.left.set(cell.id, source);
    return cell;
  }

  change({ id, cell }: PlacedCell, source: string): void {
    const old = cell.getSource();
    // The part that stays keeps its marks, such as the cursor of a person.
    let same = 0;
    while (same < old.length && same < source.length && old[same] === source[same]) same += 1;
    cell.updateSource(same, old.length, source.slice(same));
    this.left.set(id, source);
  }

  /** Move a cell so that it stands at a place of the present order, before what stands there. */
  move({ at }: PlacedCell, before: number): void {
    this.isMoved = true;
    this.notebook.moveCell(at, before > at ? before - 1 : before);
  }

  delete({ id, at }: PlacedCell): void {
    this.notebook.deleteCell(at);
    this.left.set(id, null);
  }

  /** Note that a cell is run, which changes its outputs. */
  run({ id, cell }: PlacedCell): void {
    this.hasRun = true;
    this.left.set(id, cell.getSource());
  }

  /** Say what `undo` would do now. */
  report(): UndoReport {
    const now = new Map(this.notebook.cells.map((cell) => [cell.id, cell]));
    let [cells, edited] = [0, 0];
    for (const [id, source] of this.left) {
      const present = now.get(id);
      const old = this.before.get(id);
      if (present?.getSource() !== (source ?? undefined)) edited += 1;
      if (present === undefined ? old : !old || written(old) !== written(present.toJSON()))
        cells += 1;
    }
    return { cells, edited, isMoved: this.isMoved };
  }

  /** Bring back the cells and their order. What run code did elsewhere stays. */
  undo(): void {
    this.notebook.transact(() => {
      const cells = new CellOrder(this.notebook);
      for (const id of this.left.keys()) if (!this.before.has(id)) cells.remove(id);
      this.restore(cells);
      this.order(cells);
    });
    this.left.clear();
    this.isMoved = false;
  }

  /** Put back the content of touched cells; those that were deleted come at their old place. */
  private restore(cells: CellOrder): void {
    [...this.before].forEach(([id, old], place) => {
      if (!this.left.has(id)) return;
      const present = cells.get(id);
      if (present && written(present) === written(old)) return;
      const at = cells.remove(id) ?? Math.min(place, cells.ids.length);
      cells.insert(at, id, structuredClone(old));
    });
  }

  /** Bring the old cells into their old order. Others stay behind the cell that they follow. */
  private order(cells: CellOrder): void {
    const rank = new Map([...this.before.keys()].map((id, at) => [id, at]));
    const groups: { rank: number; ids: string[] }[] = [{ rank: -1, ids: [] }];
    for (const id of cells.ids) {
      const known = rank.get(id);
      if (known === undefined) groups.at(-1)?.ids.push(id);
      else groups.push({ rank: known, ids: [id] });
    }
    const wanted = groups.sort((a, b) => a.rank - b.rank).flatMap(({ ids }) => ids);
    const staying = new Set(longestRise(cells.ids.map((id) => wanted.indexOf(id))));
    wanted.forEach((id, at) => {
      const cell = cells.get(id);
      if (staying.has(at) || cell === undefined) return;
      cells.remove(id);
      cells.insert(at === 0 ? 0 : cells.ids.indexOf(wanted[at - 1] ?? "") + 1, id, cell);
    });
  }
}

/** The cells within a transaction, in which a notebook does not tell what has been done so far. */
class CellOrder {
  readonly ids: string[];
  private readonly cells = new Map<string, ICell>();

  constructor(private readonly notebook: SharedNotebook) {
    this.ids = notebook.cells.map(({ id }) => id);
    for (const cell of notebook.cells) this.cells.set(cell.id, cell.toJSON());
  }

  get(id: string): ICell | undefined {
    return this.cells.get(id);
  }

  insert(at: number, id: string, cell: ICell): void {
    this.notebook.insertCell(at, cell);
    this.ids.splice(at, 0, id);
    this.cells.set(id, cell);
  }

  /** Remove a cell; return its place, or undefined if it is not there. */
  remove(id: string): number | undefined {
    const at = this.ids.indexOf(id);
    if (at < 0) return undefined;
    this.notebook.deleteCell(at);
    this.ids.splice(at, 1);
    this.cells.delete(id);
    return at;
  }
}

/** The longest rising part of a list: what need not be moved to bring it into order. */
export function longestRise(values: readonly number[]): number[] {
  const best: number[][] = [];
  for (const value of values) {
    let before: number[] = [];
    for (const rise of best) {
      if ((rise.at(-1) ?? 0) < value && rise.length > before.length) before = rise;
    }
    best.push([...before, value]);
  }
  return best.reduce((one, other) => (other.length > one.length ? other : one), []);
}
