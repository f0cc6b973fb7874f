/** The tools of the agent as the model is told of them. */

import type { ToolDefinition } from "../../server/answer-stream";

export type ToolName =
  | "propose_plan"
  | "read_notebook"
  | "read_cell"
  | "find_text"
  | "list_variables"
  | "add_cell"
  | "change_cell"
  | "move_cell"
  | "delete_cell"
  | "run_cell";

export interface ValueSchema {
  type: "string" | "integer" | "array" | "object";
  description?: string;
  enum?: readonly string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  minItems?: number;
  maxItems?: number;
  items?: ObjectSchema;
}

export interface ObjectSchema {
  type: "object";
  properties: Readonly<Record<string, ValueSchema | ObjectSchema>>;
  required: readonly string[];
  additionalProperties: false;
}

export interface ToolSchema {
  name: ToolName;
  description: string;
  parameters: ObjectSchema;
}

const object = (
  properties: ObjectSchema["properties"],
  optional: readonly string[] = [],
): ObjectSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
});

const text = (description: string): ValueSchema => ({ type: "string", description });
const CELL = text("The id of the cell.");
const AFTER = text("The id of the cell that it is to stand below, or start for the top.");

/** The seconds that a cell may run. */
export const RUN_SECONDS = { usual: 60, most: 600 } as const;
const MOST_PLAN_STEPS = 12;

export const TOOL_SCHEMAS: readonly ToolSchema[] = [
  {
    name: "propose_plan",
    description:
      "Show the person your plan before you change or run anything. Call it once, first. If you only have to answer a question, plan one step of the kind read.",
    parameters: object({
      steps: {
        type: "array",
        minItems: 1,
        maxItems: MOST_PLAN_STEPS,
        items: object({
          what: text("What you will do, in one short sentence."),
          kind: { type: "string", enum: ["read", "change", "run"] },
        }),
      },
    }),
  },
  {
    name: "read_notebook",
    description: "List the cells: id, type, first lines, and whether there are outputs or errors.",
    parameters: object({ from: text("Begin with this cell; left out: with the first.") }, ["from"]),
  },
  {
    name: "read_cell",
    description: "Read the whole source of a cell and what it has shown.",
    parameters: object(
      {
        cell: CELL,
        from_line: { type: "integer", minimum: 1, description: "Begin with this line." },
      },
      ["from_line"],
    ),
  },
  {
    name: "find_text",
    description: "Find the lines of all cells that contain a text.",
    parameters: object({ text: { type: "string", minLength: 1 } }),
  },
  {
    name: "list_variables",
    description: "List names and types of the variables that the kernel holds.",
    parameters: object({}),
  },
  {
    name: "add_cell",
    description: "Add a cell. It is not run.",
    parameters: object(
      {
        type: { type: "string", enum: ["code", "markdown"] },
        source: text("The whole text of the cell."),
        after: { ...AFTER, description: `${AFTER.description ?? ""} Left out: the end.` },
      },
      ["after"],
    ),
  },
  {
    name: "change_cell",
    description: "Replace the whole text of a cell. It is not run.",
    parameters: object({ cell: CELL, source: text("The whole new text of the cell.") }),
  },
  {
    name: "move_cell",
    description: "Move a cell to another place.",
    parameters: object({ cell: CELL, after: AFTER }),
  },
  {
    name: "delete_cell",
    description: "Delete a cell.",
    parameters: object({ cell: CELL }),
  },
  {
    name: "run_cell",
    description: "Run a code cell in the kernel and read what it shows.",
    parameters: object(
      {
        cell: CELL,
        timeout: {
          type: "integer",
          minimum: 1,
          maximum: RUN_SECONDS.most,
          description: `Seconds after which it is interrupted; left out: ${RUN_SECONDS.usual}.`,
        },
      },
      ["timeout"],
    ),
  },
];

/** The tools in the form of OpenAI's API. */
export const TOOL_DEFINITIONS: ToolDefinition[] = TOOL_SCHEMAS.map((schema) => ({
  type: "function",
  function: { ...schema, parameters: { ...schema.parameters } },
}));
