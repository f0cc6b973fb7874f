/** Short messages in JupyterLab's own place for them. */

import { Notification } from "@jupyterlab/apputils";
import { sentenceOf } from "../server/request-error";
import { shortParts } from "./short-parts";

// JupyterLab shows no message by itself for which no time is given.
const SHOWN = { autoClose: 8000 };

// JupyterLab cuts off what is longer.
const CHARACTERS = 140;

// The newest stands above the others.
const partsOf = (message: string): string[] => shortParts(message, CHARACTERS).reverse();

/** Show a message; a long one as several. */
export function tell(message: string): void {
  for (const part of partsOf(message)) Notification.info(part, SHOWN);
}

/** Show why something failed. */
export function tellError(error: unknown): void {
  for (const part of partsOf(sentenceOf(error))) Notification.error(part, SHOWN);
}
