/**
 * Whether a text cell could load something from elsewhere when it is shown, and so tell another host
 * what stands in the address. In doubt it could: a person is asked, and nothing else happens.
 */

const IMAGE = /!\[[^\]]*\](\(\s*<?([^)\s>]*))?/g;
/** An image beside the notebook, or within it. */
const LOCAL = /^(attachment:|data:)?[\w.+;,=-]+(\/[\w.+=-]+)*$/;
const TAG_WITH_ATTRIBUTE = /<\s*[a-z][^>]*=/i;
// Diagrams and formulas have ways of their own to load.
const OTHERS = /mermaid|\\(style|require|includegraphics)\b/i;
const HOST = /[\\/]{2}([^\s/\\?#"'<>()[\]]+)/g;

/** Return what a person should know of a Markdown text; empty if it loads nothing. */
export function loadingRemark(markdown: string): string {
  const images = [...markdown.matchAll(IMAGE)];
  const isLoading =
    images.some(([, , address]) => address === undefined || !LOCAL.test(address)) ||
    TAG_WITH_ATTRIBUTE.test(markdown) ||
    OTHERS.test(markdown);
  if (!isLoading) return "";
  const hosts = [...new Set([...markdown.matchAll(HOST)].map(([, host = ""]) => host))];
  const from = hosts.length ? `from ${hosts.join(", ")}` : "from elsewhere";
  return `When this text is shown, the page may load something ${from}.`;
}
