/** Python that lists the variables of a kernel, and its answer. */

export interface Variable {
  name: string;
  type: string;
  /** A short value; empty unless values are allowed. */
  note: string;
}

const MOST = 100;
const VALUE_CHARACTERS = 60;

// Only plain values are read: the `repr` of others may be long, slow, or run code.
const VALUE =
  `(repr(v[:${VALUE_CHARACTERS}]) if isinstance(v, str)` +
  " else repr(v) if v is None or isinstance(v, (bool, float))" +
  " or isinstance(v, int) and v.bit_length() < 64" +
  ' else f"{len(v)} items" if type(v) in (list, tuple, dict, set) else "")';

/** Return an expression whose value is a list of variables as JSON in Base64. */
export function variablesExpression(kind: "types" | "values"): string {
  const note = kind === "values" ? VALUE : '""';
  return (
    '__import__("base64").b64encode(__import__("json").dumps([' +
    `[n, type(v).__name__, ${note}] for n, v in sorted(globals().items(), key=lambda i: i[0])` +
    ' if n[:1] != "_" and type(v).__name__ != "module"' +
    ` and n not in get_ipython().user_ns_hidden][:${MOST}]).encode()).decode()`
  );
}

/** Return the variables of an answer; none if it is not such a list. */
export function parseVariables(answer: string): Variable[] {
  const bytes = Uint8Array.from(atob(answer), (character) => character.charCodeAt(0));
  const rows = JSON.parse(new TextDecoder().decode(bytes)) as [string, string, string][];
  return rows.map(([name, type, note]) => ({ name, type, note }));
}
