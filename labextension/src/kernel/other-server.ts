// A notebook server of a JupyterHub passes requests on to the Hub's service, if there is one.
const OWN = /^(this Jupyter(Hub)? server|the service of this JupyterHub) /;

/**
 * The address of the server that a kernel names; empty if it is the page's, or if it has none.
 *
 * @param answer How the kernel found its server, then the address.
 */
export const otherServer = (answer: string): string =>
  OWN.test(answer) ? "" : (answer.split(" ").at(-1) ?? "");
