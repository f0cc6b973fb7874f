/** What the model did wrong with a tool, or why a tool could not do it: one sentence for the model. */

export class ToolError extends Error {
  override readonly name = "ToolError";
}
