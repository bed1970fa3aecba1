/** Building DOM from trusted tag names and untrusted text: text only ever becomes text nodes. */

type Child = Node | string | null | undefined | false;
type Properties = Record<string, unknown>;

/**
 * An element with attributes and children. A property whose name starts with "on" is an event
 * listener; `true` sets an empty attribute; `false`, `null` and `undefined` set none.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, properties: Properties = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  apply(element, properties);
  append(element, children);
  return element;
}

/** The same for SVG, whose elements live in their own namespace. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K, properties: Properties = {}, ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  apply(element, properties);
  append(element, children);
  return element;
}

function apply(element: Element, properties: Properties): void {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on") && typeof value === "function") {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** The element that index.html promises under this id, of the type it is used as. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} with id "${id}"`);
  return element;
}

/**
 * A length set from a script: style attributes are barred by a Content-Security-Policy without
 * 'unsafe-inline', the object model behind them is not.
 */
export function setShare(element: HTMLElement, name: string, share: number): void {
  element.style.setProperty(name, Math.max(0, Math.min(1, share)).toFixed(4));
}
