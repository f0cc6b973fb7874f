/** The arguments of a call, checked against the tool's schema before anything is done with them. */

import { ToolError } from "../tool-error";
import type { ObjectSchema, ValueSchema } from "./tool-schemas";

export type Arguments = Readonly<Record<string, unknown>>;

/**
 * Return the arguments that a model wrote.
 *
 * @throws ToolError with one sentence for the model if they are no JSON or do not fit.
 */
export function parseArguments(text: string, schema: ObjectSchema): Arguments {
  let value: unknown;
  try {
    value = JSON.parse(text.trim() || "{}");
  } catch {
    throw new ToolError("The arguments are not valid JSON. Write the call again.");
  }
  check(value, schema, "the arguments");
  return value as Arguments;
}

function check(value: unknown, schema: ValueSchema | ObjectSchema, name: string): void {
  if (schema.type === "object") checkObject(value, schema as ObjectSchema, name);
  else if (schema.type === "array") checkArray(value, schema, name);
  else if (schema.type === "integer") checkInteger(value, schema, name);
  else checkText(value, schema, name);
}

function checkObject(value: unknown, schema: ObjectSchema, name: string): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ToolError(`${capital(name)} must be an object.`);
  const given = value as Record<string, unknown>;
  const missing = schema.required.find((key) => !Object.hasOwn(given, key));
  if (missing !== undefined) throw new ToolError(`The argument ${missing} is missing.`);
  for (const [key, part] of Object.entries(given)) {
    const expected = Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined;
    if (expected === undefined) {
      const known = Object.keys(schema.properties).join(", ") || "none";
      throw new ToolError(`There is no argument of this name; the arguments are: ${known}.`);
    }
    check(part, expected, key);
  }
}

function checkArray(
  value: unknown,
  { items, minItems = 0, maxItems }: ValueSchema,
  name: string,
): void {
  if (!Array.isArray(value)) throw new ToolError(`${capital(name)} must be a list.`);
  if (value.length < minItems) throw new ToolError(`${capital(name)} must not be empty.`);
  if (maxItems !== undefined && value.length > maxItems)
    throw new ToolError(`${capital(name)} may have at most ${maxItems} items.`);
  if (items) for (const item of value) check(item, items, `each of ${name}`);
}

function checkInteger(value: unknown, { minimum, maximum }: ValueSchema, name: string): void {
  if (typeof value !== "number" || !Number.isInteger(value))
    throw new ToolError(`${capital(name)} must be a whole number.`);
  if (minimum !== undefined && value < minimum)
    throw new ToolError(`${capital(name)} must be at least ${minimum}.`);
  if (maximum !== undefined && value > maximum)
    throw new ToolError(`${capital(name)} must be at most ${maximum}.`);
}

function checkText(value: unknown, schema: ValueSchema, name: string): void {
  if (typeof value !== "string") throw new ToolError(`${capital(name)} must be a text.`);
  if (value.length < (schema.minLength ?? 0))
    throw new ToolError(`${capital(name)} must not be empty.`);
  if (schema.enum && !schema.enum.includes(value))
    throw new ToolError(`${capital(name)} must be one of: ${schema.enum.join(", ")}.`);
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
