/** Short messages in JupyterLab's own place for them. */

import { Notification } from "@jupyterlab/apputils";
import { sentenceOf } from "../server/request-error";

// JupyterLab shows no message by itself for which no time is given.
const SHOWN = { autoClose: 8000 };

export const tell = (message: string): void => void Notification.info(message, SHOWN);

/** Show why something failed. */
export const tellError = (error: unknown): void =>
  void Notification.error(sentenceOf(error), SHOWN);
