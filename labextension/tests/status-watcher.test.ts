import { afterEach, expect, test } from "vitest";
import { RequestError } from "../src/server/request-error";
import { type StatusSource, StatusWatcher } from "../src/server/status-watcher";
import { request, resident, statusWith } from "./server-status";

/** A server whose events the test sends one by one. */
class Source implements StatusSource {
  readonly asked: string[] = [];
  failing: Error | undefined;
  private readonly events_: unknown[] = [];
  private wake: () => void = () => undefined;

  async get<T>(path: string): Promise<T> {
    this.asked.push(path);
    if (this.failing) throw this.failing;
    const answer = path === "mlx/models" ? { models: [], budget: {} } : { data: [] };
    return Promise.resolve(answer as T);
  }

  async *events<T>(_path: string, _body?: unknown, signal?: AbortSignal): AsyncGenerator<T> {
    signal?.addEventListener("abort", () => this.send(signal.reason));
    for (;;) {
      while (this.events_.length) {
        const event = this.events_.shift();
        if (event instanceof Error) throw event;
        yield event as T;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  send(event: unknown): void {
    this.events_.push(event);
    this.wake();
  }
}

let watcher: StatusWatcher;
afterEach(() => watcher.stop());

function watching(): Source {
  const source = new Source();
  watcher = new StatusWatcher(source);
  watcher.start();
  return source;
}

/** Wait until something is true after a change. */
const until = (condition: () => boolean): Promise<void> =>
  new Promise((resolve) => {
    const look = (): void => {
      if (!condition()) return;
      watcher.changed.disconnect(look);
      resolve();
    };
    watcher.changed.connect(look);
    look();
  });

test("lists are fetched only while somebody wants them, and when the status has changed", async () => {
  const source = watching();
  source.send(statusWith());
  await until(() => watcher.status !== null);
  expect(source.asked).toEqual([]);
  const release = watcher.want("models");
  await until(() => watcher.catalog !== null);
  expect(source.asked).toEqual(["mlx/models"]);
  source.send(statusWith({ models: [resident("tiny-chat")] }));
  await until(() => source.asked.length === 2);
  // What a request generates changes no list of models.
  source.send(statusWith({ models: [resident("tiny-chat")], requests: [request("1")] }));
  await until(() => watcher.status?.requests.length === 1);
  expect(source.asked).toEqual(["mlx/models", "mlx/models"]);
  release();
});

test("a server that is gone is a problem until it answers again", async () => {
  const source = watching();
  source.send(statusWith());
  await until(() => watcher.status !== null);
  source.send(new RequestError("It is gone.", 0));
  await until(() => watcher.problem === "It is gone.");
  expect(watcher.status).toBeNull();
  source.send(statusWith());
  await until(() => watcher.status !== null);
  expect(watcher.problem).toBe("");
});

test("a list that cannot be fetched is a problem, which ends with the next one", async () => {
  const source = watching();
  source.send(statusWith());
  await until(() => watcher.status !== null);
  source.failing = new RequestError("No list.", 500);
  const release = watcher.want("models");
  await until(() => watcher.problem === "No list.");
  expect(watcher.status).not.toBeNull();
  source.failing = undefined;
  watcher.refresh("models");
  await until(() => watcher.problem === "");
  release();
});

test("a server that keeps the connection and says nothing is a problem", async () => {
  const source = watching();
  source.send(statusWith({ keep_alive_seconds: 0.01 }));
  await until(() => watcher.status !== null);
  await until(() => watcher.problem === "The Jupyter server does not answer.");
  source.send(statusWith());
  await until(() => watcher.status !== null);
});
