const OWN = /^this Jupyter(Hub)? server /;

/**
 * The address of the server that a kernel names; empty if it is the page's, or if it has none.
 *
 * @param answer How the kernel found its server, then the address.
 */
export const otherServer = (answer: string): string =>
  OWN.test(answer) ? "" : (answer.split(" ").at(-1) ?? "");
