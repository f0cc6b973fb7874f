import { expect, test } from "vitest";
import { faultsOf } from "../src/dashboard/call-faults";
import { inspectorActions } from "../src/dashboard/inspector-actions";
import { asCurl, asPython, requestOf } from "../src/dashboard/replay-request";
import type { Trace } from "../src/server/wire-types";

const TOOLS = [
  {
    function: {
      name: "add",
      parameters: {
        $schema: "http://json-schema.org/draft-07/schema#",
        type: "object",
        properties: { a: { type: "integer" } },
        required: ["a"],
      },
    },
  },
];

const trace = (changes: Partial<Trace> = {}): Trace => ({
  id: "1",
  model: "m",
  messages: [{ role: "user", content: "It's 2 + 2?" }],
  prompt: "rendered",
  tools: [],
  options: { temperature: 0.5, top_k: 3 },
  rows: [],
  ...changes,
});

const call = (id: string, text: string, name = "add") => ({ id, name, arguments: text });

test("a chat is sent again with other values, and without those that are taken away", () => {
  const options = {
    seed: 1,
    tool_choice: { mode: "required", names: ["add"], parallel: false },
    output_format: { kind: "json_schema", value: { type: "object" } },
  };
  const asked = { function: { name: "add", arguments: { a: 1 } } };
  const messages = [{ role: "assistant", content: null, tool_calls: [asked] }];
  const again = requestOf(trace({ options, tools: TOOLS, messages }), { seed: null, model: "n" });
  expect(again).toEqual({
    path: "v1/chat/completions",
    body: {
      model: "n",
      messages: [
        {
          role: "assistant",
          content: null,
          tool_calls: [{ function: { name: "add", arguments: '{"a":1}' } }],
        },
      ],
      tools: TOOLS,
      tool_choice: { type: "function", function: { name: "add" } },
      parallel_tool_calls: false,
      response_format: {
        type: "json_schema",
        json_schema: { name: "answer", schema: { type: "object" } },
      },
    },
  });
});

test("a request that was not kept whole is not sent again", () => {
  const images = [{ role: "user", content: [{ type: "image" }] }];
  expect(() => requestOf(trace({ messages: images }))).toThrow("images, which are not kept");
  expect(() => requestOf(trace({ messages: [], prompt: null }))).toThrow("too large to keep");
  expect(requestOf(trace({ messages: [] })).path).toBe("v1/completions");
});

test("curl and Python say the same as the request", () => {
  const again = requestOf(trace());
  expect(asCurl("http://host/", again)).toContain(`"It'"'"'s 2 + 2?"`);
  expect(asPython(again)).toBe(
    `import mlx_notebook

client = mlx_notebook.client()
completion = client.chat.completions.create(
    model="m",
    messages=[{"role": "user", "content": "It's 2 + 2?"}],
    temperature=0.5,
    extra_body={"top_k": 3},
)
print(completion.choices[0].message)
`,
  );
});

test("the arguments of a call are checked by the tool's schema", async () => {
  expect(await faultsOf(call("1", '{"a": 1}'), TOOLS)).toEqual([]);
  expect(await faultsOf(call("1", '{"a": "x"}'), TOOLS)).toEqual(["a: must be integer"]);
  expect((await faultsOf(call("1", "{}"), TOOLS))[0]).toMatch("arguments: must have");
  expect((await faultsOf(call("1", "{"), TOOLS))[0]).toMatch("the arguments are not JSON");
  expect(await faultsOf(call("1", "{}", "sub"), TOOLS)).toEqual(['no tool "sub" was offered']);
  const broken = [{ function: { name: "add", parameters: { type: "nothing" } } }];
  expect((await faultsOf(call("1", "{}"), broken))[0]).toMatch("schema is not valid");
});

test("a trace is shown with the results of its calls, which are in later requests", async () => {
  const answer = { role: "tool", content: "42", tool_call_id: "call-1" };
  const traces: Record<string, Trace> = {
    first: trace({ id: "first", tools: TOOLS, rows: [{ calls: [call("call-1", '{"a": 1}')] }] }),
    second: trace({ id: "second", messages: [answer] }),
  };
  const get = (path: string): Promise<unknown> =>
    Promise.resolve(
      path.startsWith("mlx/traces?search=call-1")
        ? { data: [{ id: "second" }] }
        : structuredClone(traces[path.split("/").at(-1) ?? ""]),
    );
  const client = { get, post: get, settings: { baseUrl: "http://host/" } };
  const actions = inspectorActions(client as unknown as Parameters<typeof inspectorActions>[0]);
  const signal = new AbortController().signal;
  const shown = (await actions.trace?.({ id: "first" }, signal)) as Trace;
  expect(shown.rows[0]?.calls[0]).toMatchObject({ faults: [], result: "42" });
  expect(await actions.curl?.({ id: "second" }, signal)).toContain("http://host/v1/chat/comp");
});
