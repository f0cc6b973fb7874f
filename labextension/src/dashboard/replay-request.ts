/**
 * A trace as a request again: as JSON, as curl, as Python.
 *
 * In a notebook the kernel does the same (`replay_code.py`).
 */

import type { Trace, TraceMessage } from "../server/wire-types";

type Json = Record<string, unknown>;

const SAMPLING = [
  ...["temperature", "top_p", "top_k", "min_p", "typical_p", "xtc_probability", "xtc_threshold"],
  ...["repetition_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"],
  ...["logit_bias", "seed", "max_tokens", "min_tokens", "stop", "stop_token_ids", "bad_words"],
  ...["allowed_token_ids", "ignore_eos", "thinking_budget", "n", "truncate_prompt_tokens"],
  ...["add_generation_prompt", "continue_final_message"],
];
/** Parameters of the `openai` client. Others go into its `extra_body`. */
const OPENAI = new Set([
  ...["model", "messages", "prompt", "tools", "tool_choice", "parallel_tool_calls"],
  ...["temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed"],
  ...["max_tokens", "stop", "n", "response_format", "logprobs", "top_logprobs"],
]);

export interface Again {
  path: "v1/chat/completions" | "v1/completions";
  body: Json;
}

/**
 * The request that repeats a traced one, with other values for some fields; null removes a field.
 *
 * @throws Error if the request had images, which traces do not keep, or was too large to keep.
 */
export function requestOf(trace: Trace, changes: Json = {}): Again {
  const { options, messages, tools } = trace;
  const body: Json = { model: trace.model };
  let path: Again["path"] = "v1/chat/completions";
  if (messages.length) {
    body.messages = messages.map(messageOf);
    if (tools.length) Object.assign(body, { tools }, choiceOf(options.tool_choice as Choice));
    if ("logprobs" in options)
      Object.assign(body, { logprobs: true, top_logprobs: options.logprobs });
  } else if (trace.prompt !== null) {
    path = "v1/completions";
    body.prompt = trace.prompt;
    if ("logprobs" in options) body.logprobs = options.logprobs;
  } else throw new Error("This request was too large to keep. It cannot be sent again.");
  for (const name of SAMPLING) if (name in options) body[name] = options[name];
  if ("template_kwargs" in options) body.chat_template_kwargs = options.template_kwargs;
  if ("output_format" in options)
    Object.assign(body, formatOf(options.output_format as OutputFormat));
  Object.assign(body, trace.upstream?.parameters, changes);
  const given = Object.entries(body).filter(([, value]) => value !== null && value !== undefined);
  return { path, body: Object.fromEntries(given) };
}

/** The request as a curl command. It reads the token from the variable `JUPYTER_TOKEN`. */
export const asCurl = (url: string, { path, body }: Again): string =>
  [
    `curl ${quoted(url + path)} \\`,
    '  -H "Authorization: Bearer $JUPYTER_TOKEN" \\',
    "  -H 'Content-Type: application/json' \\",
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ].join("\n");

/** The request as Python code with the `openai` client. */
export function asPython({ path, body }: Again): string {
  const isChat = path === "v1/chat/completions";
  const named = Object.fromEntries(Object.entries(body).filter(([name]) => OPENAI.has(name)));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !OPENAI.has(name)));
  if (Object.keys(extra).length) named.extra_body = extra;
  const lines = Object.entries(named).map(
    ([name, value]) => `    ${name}=${python(value, "    ")},`,
  );
  return [
    "import mlx_notebook",
    "",
    "client = mlx_notebook.client()",
    `completion = client.${isChat ? "chat.completions" : "completions"}.create(`,
    ...lines,
    ")",
    `print(completion.choices[0].${isChat ? "message" : "text"})`,
    "",
  ].join("\n");
}

/** A value of JSON as Python. Strings of JSON are strings of Python. */
function python(value: unknown, indent: string): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const [open, close, items] = Array.isArray(value)
    ? ["[", "]", value.map((item) => python(item, inner))]
    : [
        "{",
        "}",
        Object.entries(value as Json).map(
          ([name, item]) => `${JSON.stringify(name)}: ${python(item, inner)}`,
        ),
      ];
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length <= 80 && !short.includes("\n")) return short;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'"'"'`)}'`;

/** A message of a trace in OpenAI's format, where arguments are JSON text. */
function messageOf(message: TraceMessage): TraceMessage {
  if (Array.isArray(message.content) && message.content.some(({ type }) => type === "image"))
    throw new Error("This request has images, which are not kept. Run its cell to send it again.");
  if (!message.tool_calls?.length) return message;
  const tool_calls = message.tool_calls.map((call) => {
    const { arguments: given } = call.function;
    const text = typeof given === "string" ? given : JSON.stringify(given ?? {});
    return { ...call, function: { ...call.function, arguments: text } };
  });
  return { ...message, tool_calls };
}

interface Choice {
  mode?: string;
  names?: string[];
  parallel?: boolean;
}

function choiceOf({ mode = "auto", names, parallel = true }: Choice = {}): Json {
  const parameters: Json = {};
  if (names?.length) {
    const tools = names.map((name) => ({ type: "function", function: { name } }));
    const allowed = { mode: mode === "auto" ? "auto" : "required", tools };
    parameters.tool_choice =
      mode === "required" && tools.length === 1
        ? tools[0]
        : { type: "allowed_tools", allowed_tools: allowed };
  } else if (mode !== "auto") parameters.tool_choice = mode;
  if (!parallel) parameters.parallel_tool_calls = false;
  return parameters;
}

interface OutputFormat {
  kind: string;
  value?: unknown;
}

function formatOf({ kind, value }: OutputFormat): Json {
  if (kind === "json_object") return { response_format: { type: "json_object" } };
  if (kind === "json_schema") {
    const json_schema = { name: "answer", schema: value };
    return { response_format: { type: "json_schema", json_schema } };
  }
  return { structured_outputs: { [kind]: value } };
}
