/** What can be asked about a cell or a selection, and the messages that ask it. */

import { type CellText, nearestCells } from "../base/cell-text";
import type { ChatMessage } from "../server/answer-stream";

export type TaskName =
  | "explain-error"
  | "fix-error"
  | "explain"
  | "improve"
  | "add-docstring"
  | "add-tests"
  | "instruct";

export interface Task {
  name: TaskName;
  /** The command's name in menus. */
  label: string;
  /** An answer in prose, a change of the code, or a new cell below. */
  result: "answer" | "change" | "new cell";
  instruction: string;
  isAboutError: boolean;
}

const task = (
  name: TaskName,
  label: string,
  result: Task["result"],
  instruction: string,
  isAboutError = false,
): Task => ({ name, label, result, instruction, isAboutError });

export const TASKS: readonly Task[] = [
  task(
    "explain-error",
    "Explain the Error",
    "answer",
    "Running this code raised the error below. Explain in a few sentences why, and what to change.",
    true,
  ),
  task(
    "fix-error",
    "Fix the Error",
    "change",
    "Running this code raised the error below. Fix it.",
    true,
  ),
  task("explain", "Explain", "answer", "Explain in a few sentences what this code does."),
  task(
    "improve",
    "Improve",
    "change",
    "Improve this code: make it simpler, clearer and correct. It must do the same.",
  ),
  task(
    "add-docstring",
    "Add a Docstring",
    "change",
    "Add docstrings to this code. Change nothing else.",
  ),
  task(
    "add-tests",
    "Add Tests",
    "new cell",
    "Write a few tests of this code with plain assert statements. They run in the next cell, so do not repeat the code.",
  ),
  task("instruct", "Change as I Say…", "change", ""),
];

/** What a question is about. */
export interface Subject {
  /** The code in question: a cell, or the selected lines of it. */
  code: string;
  language: string;
  /** The cells before, in their order. */
  cells: readonly CellText[];
  /** The error as text; empty if there is none. */
  error: string;
  /** How many tokens the cells before may have. */
  tokens: number;
}

const ERROR_CHARACTERS = 4000;
const ANSI = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*[A-Za-z]`, "g");

/** A traceback without its colours, from its end, where the error stands. */
export const plainTraceback = (lines: readonly string[]): string =>
  lines.join("\n").replace(ANSI, "").slice(-ERROR_CHARACTERS);

/** A code block whose fence is longer than every run of backticks inside. */
export function fenced(text: string, language = ""): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const marks = "`".repeat(longest + 1);
  return `${marks}${language}\n${text}\n${marks}`;
}

/** The cells nearest to the end as one code block; empty if there are none. */
export function contextOf({
  cells,
  language,
  tokens,
}: Pick<Subject, "cells" | "language" | "tokens">): string {
  const texts = nearestCells(cells, tokens / 2).map(({ text, cell_type }) =>
    cell_type === "code" ? text : text.replace(/^/gm, "# "),
  );
  return texts.length ? `The cells before:\n\n${fenced(texts.join("\n\n"), language)}\n\n` : "";
}

/** Return the messages that ask a model for a task. */
export function messagesOf(asked: Task, subject: Subject, instruction = ""): ChatMessage[] {
  const { code, language, error } = subject;
  const how =
    asked.result === "answer"
      ? "Answer in Markdown, short and to the point."
      : `Answer with the whole new code in one ${language} code block, and nothing else.`;
  const parts = [
    contextOf(subject),
    code.trim() ? `The code:\n\n${fenced(code, language)}\n\n` : "",
    asked.isAboutError && error ? `The error:\n\n${fenced(error)}\n\n` : "",
    asked.instruction || instruction,
  ];
  return [
    { role: "system", content: `You help to write ${language} in a Jupyter notebook. ${how}` },
    { role: "user", content: parts.join("") },
  ];
}
