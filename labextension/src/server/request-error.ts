/** Errors of requests to the server, each as one sentence for the person who reads it. */

/** The server did not do what it was asked. */
export class RequestError extends Error {
  override readonly name = "RequestError";

  constructor(
    message: string,
    /** The status of HTTP; 0 if no answer came. */
    readonly status: number,
    /** The code of the server's error; empty if it has none. */
    readonly code = "",
  ) {
    super(message);
  }
}

export const EXTENSION_IS_OFF =
  "The server extension mlx-notebook is off: run `jupyter server extension enable mlx_notebook` and restart Jupyter.";
export const NOT_REACHED = "The Jupyter server does not answer.";

/** Return the error that an answer holds. A 404 that is not ours means that nobody serves us. */
export function errorOf(status: number, text: string): RequestError {
  const told = errorIn(text);
  if (told !== undefined) return new RequestError(told.message, status, told.code);
  if (status === 404) return new RequestError(EXTENSION_IS_OFF, status);
  if (status === 401 || status === 403)
    return new RequestError("The Jupyter server asks you to log in again.", status);
  return new RequestError(`The server answered with the status ${status}.`, status);
}

/** Message and code of an error object as OpenAI's API has it. */
function errorIn(text: string): { message: string; code: string } | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown; code?: unknown } };
    if (typeof error?.message !== "string") return undefined;
    return { message: error.message, code: typeof error.code === "string" ? error.code : "" };
  } catch {
    return undefined;
  }
}

/** Say in one sentence what went wrong. */
export const sentenceOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
