import { expect, test } from "vitest";
import { transcriberOf } from "../src/attachments/dictation";
import { RATE, wavOf } from "../src/attachments/recorded-sound";
import type { CatalogModel } from "../src/server/wire-types";

const model = (
  id: string,
  state: CatalogModel["state"],
  ...capabilities: string[]
): CatalogModel => ({
  id,
  state,
  capabilities,
  aliases: [],
  default: false,
  pinned: false,
  active: 0,
  context_length: null,
  memory_bytes: null,
  progress: null,
});

test("the model in memory transcribes, or else the first that can", () => {
  const able = ["transcription", "translation"];
  const first = model("a", "available", ...able);
  const chat = model("b", "resident", "chat");
  const far = model("c", "downloadable", ...able);
  expect(transcriberOf([])).toBeUndefined();
  expect(transcriberOf([chat, far])).toBeUndefined();
  expect(transcriberOf([chat, first])).toBe("a");
  expect(transcriberOf([first, model("d", "resident", ...able)])).toBe("d");
});

test("a recording is a WAV file with one channel of 16 bits", async () => {
  const file = wavOf(Float32Array.of(0, 0.5, -2, 2));
  const view = new DataView(await file.arrayBuffer());
  const text = (at: number): string =>
    String.fromCharCode(...[0, 1, 2, 3].map((index) => view.getUint8(at + index)));
  expect([text(0), text(8), text(12), text(36)]).toEqual(["RIFF", "WAVE", "fmt ", "data"]);
  expect(view.byteLength).toBe(44 + 8);
  expect(view.getUint32(4, true)).toBe(view.byteLength - 8);
  expect(view.getUint16(22, true)).toBe(1);
  expect(view.getUint32(24, true)).toBe(RATE);
  expect(view.getUint32(40, true)).toBe(8);
  expect([0, 1, 2, 3].map((index) => view.getInt16(44 + 2 * index, true))).toEqual([
    0, 16_384, -32_767, 32_767,
  ]);
});
