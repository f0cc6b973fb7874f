/**
 * What a call of the model would do, prepared so that a person can judge it before it is done.
 *
 * Titles and remarks are ours, whatever the model says of its call. What is shown is what is done: an
 * action that finds another text than it has shown does nothing.
 */

import type { Variable } from "../../kernel/variable-list";
import { loadingRemark } from "../cells/loading-text";
import {
  checkEditable,
  findCell,
  type PlacedCell,
  placeBelow,
  placeName,
  type SharedNotebook,
  shortId,
} from "../cells/notebook-cell";
import { quotedCell, quotedFindings, quotedNotebook, quotedOutputs } from "../cells/quoted-cells";
import { TurnChanges } from "../cells/turn-changes";
import { hiddenCharacters } from "../hidden-characters";
import type { ActionKind } from "../permissions";
import { ToolError } from "../tool-error";
import { type Arguments, parseArguments } from "./tool-arguments";
import { RUN_SECONDS, TOOL_SCHEMAS, type ToolName } from "./tool-schemas";

/** How a cell's run has ended. */
export type RunEnd = "done" | "error" | "timeout" | "interrupted";

/** The notebook's kernel. */
export interface CellRunner {
  /**
   * Run a code cell and wait for its end; interrupt it after some seconds, or when it is stopped.
   *
   * @param begin Called at once before it runs. If it throws, nothing is run.
   * @throws ToolError if it cannot be run.
   */
  run(id: string, seconds: number, signal: AbortSignal, begin: () => void): Promise<RunEnd>;
  /** The variables, as far as the settings allow; undefined if the kernel cannot be asked now. */
  variables(): Promise<readonly Variable[] | undefined>;
}

export interface PlanStep {
  what: string;
  kind: ActionKind;
}

export interface Action {
  kind: ActionKind;
  /** What it does, in a few words: "change cell 3". */
  title: string;
  /** The cell's text before and after; the same for code that is run. */
  before: string;
  after: string;
  type: "code" | "markdown" | "other";
  /** What a person should know besides; such an action is asked about each time. */
  remark: string;
  /** Where the cell stands; undefined for a new one. */
  at: number | undefined;
  /** Do it; return what the model is told. */
  perform(signal: AbortSignal): Promise<string>;
}

/** What a call asks for: an action, or to be shown a plan. */
export type Prepared = Action | { kind: "plan"; steps: readonly PlanStep[] };

type Doing = Partial<Action> & Pick<Action, "title" | "perform">;

const action = (kind: ActionKind, doing: Doing): Action => ({
  kind,
  before: "",
  after: "",
  type: "other",
  remark: "",
  at: undefined,
  ...doing,
});

const cellType = (type: string): Action["type"] =>
  type === "code" || type === "markdown" ? type : "other";

export class Toolbox {
  private turnChanges: TurnChanges | undefined;

  constructor(
    private readonly notebook: SharedNotebook,
    private readonly runner: CellRunner,
    /** How many tokens a result may have. */
    private readonly resultTokens: number,
    /** The id of the cell in which the person is. */
    private readonly activeId: () => string | undefined = () => undefined,
  ) {}

  /** What this turn has changed; undefined if nothing. */
  get changes(): TurnChanges | undefined {
    return this.turnChanges?.isEmpty ? undefined : this.turnChanges;
  }

  /**
   * Say what a call would do. Nothing is done yet.
   *
   * @throws ToolError with one sentence for the model if the call is wrong.
   */
  prepare(name: string, written: string): Prepared {
    const schema = TOOL_SCHEMAS.find((tool) => tool.name === name);
    if (schema === undefined) {
      const names = TOOL_SCHEMAS.map((tool) => tool.name).join(", ");
      throw new ToolError(`There is no such tool; the tools are: ${names}.`);
    }
    const given = parseArguments(written, schema.parameters);
    if (schema.name === "propose_plan")
      return { kind: "plan", steps: given.steps as readonly PlanStep[] };
    return this.actions[schema.name](given);
  }

  private readonly actions: Record<
    Exclude<ToolName, "propose_plan">,
    (given: Arguments) => Action
  > = {
    read_notebook: ({ from }) => this.readNotebook(from as string | undefined),
    read_cell: ({ cell, from_line }) => this.readCell(cell as string, (from_line ?? 1) as number),
    find_text: ({ text }) =>
      this.reading(`look for ${JSON.stringify(text)}`, () =>
        quotedFindings(this.notebook, text as string),
      ),
    list_variables: () => this.listVariables(),
    add_cell: ({ type, source, after }) =>
      this.addCell(type as "code" | "markdown", source as string, after as string | undefined),
    change_cell: ({ cell, source }) => this.changeCell(cell as string, source as string),
    move_cell: ({ cell, after }) => this.moveCell(cell as string, after as string),
    delete_cell: ({ cell }) => this.deleteCell(cell as string),
    run_cell: ({ cell, timeout }) =>
      this.runCell(cell as string, (timeout ?? RUN_SECONDS.usual) as number),
  };

  private reading(title: string, read: () => string): Action {
    return action("read", { title, perform: async () => Promise.resolve(read()) });
  }

  private readNotebook(from: string | undefined): Action {
    const first = from === undefined ? 0 : findCell(this.notebook, from).at;
    return this.reading("read the notebook", () => {
      const id = this.activeId();
      const active = id === undefined ? "" : `\nThe person is in ${shortId({ id })}.`;
      return quotedNotebook(this.notebook, first, this.resultTokens) + active;
    });
  }

  private readCell(id: string, fromLine: number): Action {
    const { cell, at } = findCell(this.notebook, id);
    return this.reading(`read ${placeName({ at })}`, () =>
      quotedCell(cell, at, fromLine, this.resultTokens),
    );
  }

  private listVariables(): Action {
    return action("read", {
      title: "list the variables",
      perform: async () => {
        const variables = await this.runner.variables();
        if (variables === undefined)
          throw new ToolError("The kernel is busy, or tells no variables. Go on without them.");
        if (!variables.length) return "The kernel has no variables, or the settings hide them.";
        return variables
          .map(({ name, type, note }) => `${name}: ${type}${note ? ` = ${note}` : ""}`)
          .join("\n");
      },
    });
  }

  private addCell(type: "code" | "markdown", source: string, after: string | undefined): Action {
    const where = placeBelow(this.notebook, after);
    const place = where === 0 ? "at the top" : `below ${placeName({ at: where - 1 })}`;
    return action("change", {
      title: `add a ${type} cell ${place}`,
      after: source,
      type,
      remark: remarkOf(type, source),
      perform: async () => {
        // Cells may have moved while the person was asked.
        const at = placeBelow(this.notebook, after);
        const cell = this.begin().add(at, type, source);
        return Promise.resolve(
          `Added ${shortId(cell)} as ${placeName({ at })}.${type === "code" ? " It has not been run." : ""}`,
        );
      },
    });
  }

  private changeCell(id: string, source: string): Action {
    const found = findCell(this.notebook, id);
    checkEditable(found, "editable");
    const before = found.cell.getSource();
    if (before === source) throw new ToolError("The cell already has this text.");
    const type = cellType(found.cell.cell_type);
    return action("change", {
      title: `change ${placeName(found)}`,
      before,
      after: source,
      type,
      remark: remarkOf(type, source),
      at: found.at,
      perform: async () => {
        const now = this.unchanged(found, before);
        this.begin().change(now, source);
        return Promise.resolve(
          `Changed ${placeName(now)}.${type === "code" ? " It has not been run." : ""}`,
        );
      },
    });
  }

  private moveCell(id: string, after: string): Action {
    const found = findCell(this.notebook, id);
    const before = placeBelow(this.notebook, after);
    if (before === found.at || before === found.at + 1)
      throw new ToolError("The cell already stands there.");
    const source = found.cell.getSource();
    const place = before === 0 ? "to the top" : `below ${placeName({ at: before - 1 })}`;
    return action("change", {
      title: `move ${placeName(found)} ${place}`,
      before: source,
      after: source,
      type: cellType(found.cell.cell_type),
      at: found.at,
      perform: async () => {
        const now = this.unchanged(found, source);
        this.begin().move(now, placeBelow(this.notebook, after));
        const moved = findCell(this.notebook, found.id);
        return Promise.resolve(`${shortId(moved)} is now ${placeName(moved)}.`);
      },
    });
  }

  private deleteCell(id: string): Action {
    const found = findCell(this.notebook, id);
    checkEditable(found, "deletable");
    const before = found.cell.getSource();
    return action("change", {
      title: `delete ${placeName(found)}`,
      before,
      type: cellType(found.cell.cell_type),
      at: found.at,
      perform: async () => {
        this.begin().delete(this.unchanged(found, before));
        return Promise.resolve(`Deleted ${shortId(found)}.`);
      },
    });
  }

  private runCell(id: string, seconds: number): Action {
    const found = findCell(this.notebook, id);
    if (found.cell.cell_type !== "code") throw new ToolError("Only code cells can be run.");
    const source = found.cell.getSource();
    if (!source.trim()) throw new ToolError("The cell is empty.");
    return action("run", {
      title: `run ${placeName(found)}`,
      before: source,
      after: source,
      type: "code",
      remark: hiddenCharacters(source) ? HIDDEN : "",
      at: found.at,
      perform: async (signal) => {
        const end = await this.runner.run(found.id, seconds, signal, () =>
          this.begin().run(this.unchanged(found, source)),
        );
        const after = findCell(this.notebook, found.id);
        const ended = {
          done: "ran without an error",
          error: "raised an error",
          interrupted: "was interrupted by the person",
          timeout: `ran longer than ${seconds} seconds and was interrupted`,
        }[end];
        return `Cell ${after.at + 1} ${ended}. ${quotedOutputs(after.cell, this.resultTokens)}`;
      },
    });
  }

  private begin(): TurnChanges {
    this.turnChanges ??= new TurnChanges(this.notebook);
    return this.turnChanges;
  }

  /** Find a cell again, which must have the text that was shown. */
  private unchanged({ id }: PlacedCell, source: string): PlacedCell {
    const now = findCell(this.notebook, id);
    if (now.cell.getSource() !== source)
      throw new ToolError("Somebody has edited the cell meanwhile. Read it again.");
    return now;
  }
}

const HIDDEN = "The text has characters that are not seen. They are written as ⟨U+…⟩ here.";

const remarkOf = (type: Action["type"], source: string): string =>
  [type === "markdown" ? loadingRemark(source) : "", hiddenCharacters(source) ? HIDDEN : ""]
    .filter(Boolean)
    .join(" ");
