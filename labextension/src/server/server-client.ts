/** Requests to the server extension, with the rights of the page. No other server is asked. */

import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";
import { readEvents } from "./event-stream";
import { errorOf, NOT_REACHED, RequestError } from "./request-error";

export class ServerClient {
  constructor(readonly settings: ServerConnection.ISettings) {}

  /**
   * Send `GET path`.
   *
   * @throws RequestError if the server does not answer or refuses.
   */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.send("GET", path, undefined, signal)).json()) as T;
  }

  /**
   * Send `POST path`.
   *
   * @throws RequestError if the server does not answer or refuses.
   */
  async post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    return this.ask("POST", path, body, signal);
  }

  /**
   * Send a form with a file by `POST path`.
   *
   * @throws RequestError if the server does not answer or refuses.
   */
  async upload<T>(path: string, form: FormData, signal?: AbortSignal): Promise<T> {
    return (await (await this.send("POST", path, form, signal)).json()) as T;
  }

  /**
   * Send a request with another method, such as `PUT`.
   *
   * @throws RequestError if the server does not answer or refuses.
   */
  async ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    return (await (await this.send(method, path, body, signal)).json()) as T;
  }

  /**
   * Send `PATCH path`.
   *
   * @throws RequestError if the server does not answer or refuses.
   */
  async patch<T>(path: string, body: unknown): Promise<T> {
    return (await (await this.send("PATCH", path, body, undefined)).json()) as T;
  }

  /**
   * Yield the objects of an event stream. Ending the loop, or the signal, closes the connection.
   *
   * @param heard Called whenever something has come, also if it only keeps the connection open.
   * @throws RequestError if the server does not answer, refuses, or ends with an error.
   */
  async *events<T>(
    path: string,
    body?: unknown,
    signal?: AbortSignal,
    heard?: () => void,
  ): AsyncGenerator<T> {
    const method = body === undefined ? "GET" : "POST";
    const response = await this.send(method, path, body, signal);
    if (response.body === null) return;
    for await (const { kind, data } of readEvents(response.body, heard)) {
      if (data === "[DONE]") return;
      if (kind === "error") throw errorOf(500, data);
      yield JSON.parse(data) as T;
    }
  }

  private async send(
    method: string,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, path);
    const init: RequestInit = { method, signal: signal ?? null };
    // The browser adds the type of a form, with its boundary.
    if (body !== undefined) init.body = body instanceof FormData ? body : JSON.stringify(body);
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new RequestError(NOT_REACHED, 0);
    }
    if (!response.ok) throw errorOf(response.status, await response.text());
    return response;
  }
}
