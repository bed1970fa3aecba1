/** The inspector's drawings. Each comes with its figures as text, so nothing is told by shape alone. */

import type { Stage } from "../src/pywasm.ts";
import { h, setShare, svg } from "./dom.ts";
import { duration } from "./format.ts";

/** Bars of the stages of a query on one time axis. Times in ms from the query's start. */
export function waterfall(stages: readonly Stage[]): HTMLElement {
  const end = Math.max(...stages.map(({ start, ms }) => start + ms), Number.MIN_VALUE);
  return h("ol", { class: "waterfall" }, ...stages.map(({ name, start, ms }) => {
    const bar = h("span", { class: `span stage-${name}` });
    setShare(bar, "--start", start / end);
    setShare(bar, "--share", ms / end);
    return h("li", {}, h("span", { class: "name" }, name), h("span", { class: "track", "aria-hidden": "true" }, bar),
      h("span", { class: "value" }, duration(ms)));
  }));
}

export interface Part {
  /** Class of the part's colour, the same in every drawing. */
  key: string;
  name: string;
  value: number;
  label: string;
}

/** Parts of a whole as one bar and a legend. Parts of 0 are named, so that a tier not in use shows. */
export function composition(parts: readonly Part[]): HTMLElement {
  const whole = parts.reduce((sum, { value }) => sum + value, 0);
  return h("div", { class: "composition" },
    h("div", { class: "whole", "aria-hidden": "true" }, ...parts.map(({ key, value }) => {
      if (value === 0) return null;
      const part = h("span", { class: `part part-${key}` });
      setShare(part, "--share", value / whole);
      return part;
    })),
    h("ul", { class: "legend" }, ...parts.map(({ key, name, label }) =>
      h("li", {}, h("span", { class: `key part-${key}`, "aria-hidden": "true" }), h("span", { class: "name" }, name), h("span", { class: "value" }, label)))));
}

/** A line over the newest samples, oldest left, with the height of the largest. */
export function sparkline(samples: readonly number[]): SVGSVGElement {
  const width = 240;
  const height = 44;
  const most = Math.max(...samples, Number.MIN_VALUE);
  const x = (place: number): string => ((place / Math.max(1, samples.length - 1)) * (width - 6) + 3).toFixed(1);
  const y = (value: number): string => (height - 4 - (value / most) * (height - 8)).toFixed(1);
  const points = samples.map((value, place) => `${x(place)},${y(value)}`);
  const last = samples.length - 1;
  return svg("svg", { class: "sparkline", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    samples.length > 1 && svg("polygon", { class: "area", points: `3,${height} ${points.join(" ")} ${x(last)},${height}` }),
    samples.length > 1 && svg("polyline", { class: "line", points: points.join(" ") }));
}

/** How much of a limit is in use. */
export function meter(label: string, value: number, limit: number, text: string): HTMLElement {
  const fill = h("span", { class: "span" });
  setShare(fill, "--start", 0);
  setShare(fill, "--share", limit > 0 ? value / limit : 0);
  return h("div", { class: "meter" }, h("span", { class: "name" }, label), h("span", { class: "value" }, text),
    h("span", { class: "track", "aria-hidden": "true" }, fill));
}
