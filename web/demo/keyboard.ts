/** Keys: `/` to the search box, arrows through the results, Escape back, `i` for the inspector. */

import { resultTargets } from "./results.ts";

export interface KeyActions {
  input: HTMLInputElement;
  list: HTMLOListElement;
  clear: () => void;
  inspect: () => void;
}

export function bindKeys({ input, list, clear, inspect }: KeyActions): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!isEditable(event.target)) {
      if (event.key === "/") {
        event.preventDefault();
        input.focus();
        input.select();
        return;
      }
      if (event.key === "i") {
        event.preventDefault();
        inspect();
        return;
      }
    }
    const inInput = event.target === input;
    const inList = event.target instanceof Element && list.contains(event.target);
    if (event.key === "Escape") {
      if (inInput) clear();
      else if (inList) input.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (inInput || inList)) {
      const targets = resultTargets(list);
      const current = targets.findIndex((target) => target.closest("li")?.contains(event.target as Node) === true);
      const next = event.key === "ArrowDown" ? Math.min(current + 1, targets.length - 1) : current - 1;
      if (targets.length === 0 || (inInput && event.key === "ArrowUp")) return;
      event.preventDefault();
      (targets[next] ?? input).focus();
    } else if ((event.key === "Home" || event.key === "End") && inList) {
      const targets = resultTargets(list);
      event.preventDefault();
      targets.at(event.key === "Home" ? 0 : -1)?.focus();
    }
  });
}

function isEditable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input:not([type=checkbox], [type=range]), textarea, select") !== null;
}
