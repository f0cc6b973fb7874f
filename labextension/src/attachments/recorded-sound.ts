/** Sound from the microphone, as a WAV file that every server can read. */

/** Samples a second: what models that transcribe listen to. */
export const RATE = 16_000;

const HEADER_BYTES = 44;
const NO_MICROPHONE =
  "The browser gives no microphone to this page: open Jupyter at localhost or over HTTPS.";
const FAULTS: Readonly<Record<string, string>> = {
  NotAllowedError: "The browser does not allow this page to use the microphone.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "Another program uses the microphone.",
};

/** A recording that runs. */
export interface Recording {
  /** End it, and return the sound as a WAV file. */
  stop: () => Promise<Blob>;
  /** End it, and forget the sound. */
  cancel: () => void;
}

/**
 * Begin to record.
 *
 * @throws Error if there is no microphone, or the page may not use it.
 */
export async function record(): Promise<Recording> {
  // TypeScript does not know that pages without a secure context have none.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (devices === undefined) throw new Error(NO_MICROPHONE);
  const stream = await devices.getUserMedia({ audio: true }).catch((error: unknown) => {
    const fault = error instanceof Error ? FAULTS[error.name] : undefined;
    throw fault === undefined ? error : new Error(fault);
  });
  const recorder = new MediaRecorder(stream);
  const pieces: Blob[] = [];
  recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  const ended = new Promise<void>((resolve) => {
    recorder.addEventListener("stop", () => resolve());
  });
  const end = (): void => {
    if (recorder.state !== "inactive") recorder.stop();
    for (const track of stream.getTracks()) track.stop();
  };
  recorder.start();
  return {
    cancel: end,
    stop: async () => {
      end();
      await ended;
      return wavOf(await samplesOf(new Blob(pieces, { type: recorder.mimeType })));
    },
  };
}

/** Return one channel of a recording at `RATE`, each sample from -1 to 1. */
async function samplesOf(recording: Blob): Promise<Float32Array> {
  const context = new AudioContext();
  try {
    const decoded = await context.decodeAudioData(await recording.arrayBuffer());
    const length = Math.max(1, Math.round(decoded.duration * RATE));
    const resampler = new OfflineAudioContext(1, length, RATE);
    const source = resampler.createBufferSource();
    source.buffer = decoded;
    source.connect(resampler.destination);
    source.start();
    return (await resampler.startRendering()).getChannelData(0);
  } finally {
    await context.close();
  }
}

/**
 * Return a WAV file with one channel of 16 bits at `RATE`.
 *
 * Format: http://soundfile.sapp.org/doc/WaveFormat/.
 */
export function wavOf(samples: Float32Array): Blob {
  const bytes = 2 * samples.length;
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + bytes));
  const write = (at: number, text: string): void => {
    for (let index = 0; index < text.length; index++)
      view.setUint8(at + index, text.charCodeAt(index));
  };
  write(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, bytes, true);
  samples.forEach((sample, index) => {
    const level = Math.round(32_767 * Math.max(-1, Math.min(1, sample)));
    view.setInt16(HEADER_BYTES + 2 * index, level, true);
  });
  return new Blob([view.buffer], { type: "audio/wav" });
}
