import { expect, test } from "vitest";
import { readEvents } from "../src/server/event-stream";
import { EXTENSION_IS_OFF, errorOf } from "../src/server/request-error";

/** A body that arrives in pieces of so many bytes. */
function body(text: string, size: number, cancelled?: () => void): ReadableStream<Uint8Array> {
  const sent = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= sent.length) return controller.close();
      controller.enqueue(sent.slice(at, at + size));
      at += size;
    },
    cancel: () => cancelled?.(),
  });
}

const TEXT =
  ': keep-alive\n\ndata: {"a": "é"}\n\nevent: error\ndata: one\ndata: two\n\ndata: [DONE]\n\n';

test.each([1, 2, 7, 1000])("events are the same however the bytes are cut: %i", async (size) => {
  const events = [];
  for await (const event of readEvents(body(TEXT, size))) events.push(event);
  expect(events).toEqual([
    { kind: "message", data: '{"a": "é"}' },
    { kind: "error", data: "one\ntwo" },
    { kind: "message", data: "[DONE]" },
  ]);
});

test("whoever stops reading closes the connection", async () => {
  let isClosed = false;
  const stream = body(TEXT, 5, () => {
    isClosed = true;
  });
  for await (const _ of readEvents(stream)) break;
  expect(isClosed).toBe(true);
});

test("an error is the server's sentence, and a foreign 404 means that the extension is off", () => {
  const ours = errorOf(429, '{"error": {"message": "The queue is full.", "code": "x"}}');
  expect([ours.message, ours.status]).toEqual(["The queue is full.", 429]);
  expect(errorOf(404, "<html>not found</html>").message).toBe(EXTENSION_IS_OFF);
  expect(errorOf(500, "").message).toContain("500");
});
