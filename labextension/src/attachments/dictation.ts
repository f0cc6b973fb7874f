/** The microphone of the chat: a model that transcribes writes what is said into the message. */

import { button, element } from "../base/elements";
import { sentenceOf } from "../server/request-error";
import type { ServerClient } from "../server/server-client";
import type { CatalogModel } from "../server/wire-types";
import { type Recording, record } from "./recorded-sound";

/** A longer recording ends by itself: Whisper takes about as long to read it. */
const MOST_SECONDS = 120;

const SPEAK = "Speak";
const RECORDING = "mlx-lab-recording";
const USABLE: readonly string[] = ["resident", "available", "loading"];

export class Dictation {
  /** The button; hidden while no model can transcribe. */
  readonly node: HTMLElement;
  private readonly button: HTMLButtonElement;
  private readonly status = element("small", { role: "status" });
  private model: string | undefined;
  private text: HTMLTextAreaElement | undefined;
  private notify: (message: string, isError?: boolean) => void = () => undefined;
  private recording: Recording | undefined;
  private request: AbortController | undefined;
  private clock: number | undefined;

  constructor(private readonly client: ServerClient) {
    this.button = button(SPEAK, () => void this.press(), {
      class: "mlx-lab-button mlx-lab-chip",
      title: "Record your voice; a model writes it into the message",
    });
    this.node = element("span", { hidden: true }, this.button, " ", this.status);
  }

  /** Write into a message box. */
  connect(text: HTMLTextAreaElement, notify: typeof this.notify): void {
    this.text = text;
    this.notify = notify;
  }

  /** Offer the microphone if one of these models transcribes. */
  show(models: readonly CatalogModel[]): void {
    this.model = transcriberOf(models);
    this.node.hidden = this.model === undefined && this.recording === undefined;
  }

  /** Forget a recording, and what is being written. */
  cancel(): void {
    this.recording?.cancel();
    this.request?.abort();
    this.rest();
  }

  /** Begin to record; or end that, and have it written; or stop the writing. */
  private async press(): Promise<void> {
    if (this.request !== undefined) {
      this.cancel();
      return;
    }
    try {
      if (this.recording === undefined) await this.begin();
      else await this.write(this.recording);
    } catch (error) {
      this.notify(sentenceOf(error), true);
      this.rest();
    }
  }

  private async begin(): Promise<void> {
    this.button.disabled = true;
    try {
      this.recording = await record();
    } finally {
      this.button.disabled = false;
    }
    this.button.textContent = "Stop recording";
    this.button.classList.add(RECORDING);
    const began = Date.now();
    this.status.textContent = "Recording";
    this.clock = window.setInterval(() => {
      const seconds = Math.floor((Date.now() - began) / 1000);
      this.button.textContent = `Stop recording (${seconds} s)`;
      if (seconds >= MOST_SECONDS) void this.press();
    }, 1000);
  }

  private async write(recording: Recording): Promise<void> {
    window.clearInterval(this.clock);
    this.recording = undefined;
    const request = new AbortController();
    this.request = request;
    this.button.classList.remove(RECORDING);
    this.button.textContent = "Cancel";
    this.status.textContent = `${this.model ?? "The model"} writes what you said…`;
    try {
      const form = new FormData();
      form.append("file", await recording.stop(), "speech.wav");
      if (this.model !== undefined) form.append("model", this.model);
      const path = "v1/audio/transcriptions";
      const { text } = await this.client.upload<{ text: string }>(path, form, request.signal);
      if (!text.trim()) this.notify("Nothing was understood.", true);
      else this.insert(text.trim());
    } catch (error) {
      if (!request.signal.aborted) throw error;
    } finally {
      // Another recording may have begun since this one was cancelled.
      if (this.request === request) this.rest();
    }
  }

  private insert(said: string): void {
    const { text } = this;
    if (text === undefined) return;
    const { selectionStart: start, selectionEnd: end, value } = text;
    const isApart = /(^|\s)$/.test(value.slice(0, start));
    text.setRangeText(isApart ? said : ` ${said}`, start, end, "end");
    text.dispatchEvent(new Event("input", { bubbles: true }));
    text.focus();
  }

  private rest(): void {
    window.clearInterval(this.clock);
    this.recording = this.request = undefined;
    this.button.textContent = SPEAK;
    this.button.classList.remove(RECORDING);
    this.status.textContent = "";
    this.node.hidden = this.model === undefined;
  }
}

/** Return the model to transcribe with: one in memory if there is one, else the first. */
export function transcriberOf(models: readonly CatalogModel[]): string | undefined {
  const able = models.filter(
    ({ state, capabilities }) => USABLE.includes(state) && capabilities.includes("transcription"),
  );
  return (able.find(({ state }) => state === "resident") ?? able[0])?.id;
}
