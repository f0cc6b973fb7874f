/** Whether the arguments of a tool call fit the tool's schema. */

import type { Trace, TraceCall } from "../server/wire-types";

/** How the arguments do not fit; empty if they do. In a notebook the kernel says the same. */
export async function faultsOf(call: TraceCall, tools: Trace["tools"]): Promise<string[]> {
  const tool = tools.find(({ function: { name } }) => name === call.name);
  if (tool === undefined) return [`no tool ${JSON.stringify(call.name)} was offered`];
  let given: unknown;
  try {
    given = JSON.parse(call.arguments || "{}");
  } catch (error) {
    return [`the arguments are not JSON: ${(error as Error).message}`];
  }
  // The page loads it when the first call is shown.
  const { default: Ajv } = await import("ajv/dist/2020");
  const checker = new Ajv({ allErrors: true, strict: false, validateFormats: false });
  // It knows the schemas of drafts by no address, and JSON Schema's words are the same in all.
  const { $schema: _, ...schema } = tool.function.parameters;
  try {
    const check = checker.compile(schema);
    if (check(given)) return [];
    return (check.errors ?? []).map(({ instancePath, message }) => {
      const where = instancePath.slice(1).replaceAll("/", ".") || "arguments";
      return `${where}: ${message ?? "it does not fit"}`;
    });
  } catch (error) {
    return [`the tool's schema is not valid: ${(error as Error).message}`];
  }
}
