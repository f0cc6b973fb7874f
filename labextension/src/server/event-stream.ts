/**
 * Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */

export interface ServerEvent {
  kind: string;
  data: string;
}

/**
 * Yield the events of a stream of bytes. Comments, which keep a connection open, are left out.
 *
 * @param heard Called whenever something has come, be it a comment.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  heard: () => void = () => undefined,
): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      heard();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
      if (done) return;
    }
  } finally {
    // Whoever stops reading closes the connection, which stops the work on the server.
    await reader.cancel().catch(() => undefined);
  }
}

function parseEvent(block: string): ServerEvent | undefined {
  let kind = "message";
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === "event") kind = value ?? kind;
    else if (field === "data") data.push(value ?? "");
  }
  return data.length ? { kind, data: data.join("\n") } : undefined;
}
