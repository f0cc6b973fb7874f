/** Figures as text, as the panels write them. */

export const number = (value: number, digits = 0): string =>
  value.toLocaleString("en", { maximumFractionDigits: digits });

/** "240 MB". */
export function bytes(value: number): string {
  let left = value;
  for (const unit of ["bytes", "kB", "MB"]) {
    if (left < 1000) return `${number(left, unit === "bytes" ? 0 : 1)} ${unit}`;
    left /= 1000;
  }
  return `${number(left, 1)} GB`;
}

/** "1 request", "2 requests". */
export const plural = (value: number, one: string): string =>
  `${number(value)} ${one}${value === 1 ? "" : "s"}`;
