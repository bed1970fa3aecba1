/** Numbers as a person reads them. */

const units = ["B", "KB", "MB", "GB", "TB"];

/** 1536 -> "1.5 KB". Units of 1,000 bytes, as browsers and download pages count. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value.toFixed(0) : significant(value)} ${units[unit] ?? ""}`;
}

/** 0.0423 -> "0.04 ms"; 1520 -> "1.52 s". */
export function duration(milliseconds: number): string {
  if (milliseconds >= 1000) return `${significant(milliseconds / 1000)} s`;
  return `${milliseconds < 1 ? milliseconds.toFixed(2) : significant(milliseconds)} ms`;
}

/** 117659 -> "117,659" in the reader's own notation. */
export function count(value: number): string {
  return value.toLocaleString();
}

/** "1 result", "12 results". */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function percent(share: number): string {
  return `${Math.floor(share * 100)} %`;
}

/** A score with the three digits that tell neighbours apart, whatever its scale. */
export function score(value: number): string {
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3);
}

/** A column's name as a heading: "publication_year" -> "Publication year". */
export function heading(name: string): string {
  const words = name.replace(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
