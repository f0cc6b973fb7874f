import type { TaskName } from "./tasks";

/** The command of a task. */
export const commandOf = (task: TaskName): string => `mlx-notebook:${task}`;
