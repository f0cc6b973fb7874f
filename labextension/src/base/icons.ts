/** Icons, drawn in the colours of the theme. */

import { LabIcon } from "@jupyterlab/ui-components";

const svg = (body: string): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">${body}</g></svg>`;

/** A chip with a spark: the model. */
export const modelIcon = new LabIcon({
  name: "mlx-notebook:model",
  svgstr: svg(
    '<path d="M9 2v3H6a1 1 0 0 0-1 1v3H2v2h3v2H2v2h3v3a1 1 0 0 0 1 1h3v3h2v-3h2v3h2v-3h3a1 1 0 0 0 1-1v-3h3v-2h-3v-2h3V9h-3V6a1 1 0 0 0-1-1h-3V2h-2v3h-2V2zM7 7h10v10H7z"/>' +
      '<path d="M12 8l1.2 2.8L16 12l-2.8 1.2L12 16l-1.2-2.8L8 12l2.8-1.2z"/>',
  ),
});

/** A speech bubble with a spark: the chat. */
export const chatIcon = new LabIcon({
  name: "mlx-notebook:chat",
  svgstr: svg(
    '<path d="M4 3a2 2 0 0 0-2 2v16l4-4h14a2 2 0 0 0 2-2V5a2 2 0 0 0-2-2zm0 2h16v10H5.2L4 16.2z"/>' +
      '<path d="M12 6l1.2 2.8L16 10l-2.8 1.2L12 14l-1.2-2.8L8 10l2.8-1.2z"/>',
  ),
});
