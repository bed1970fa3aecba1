/** Light, dark, or as the system has it. */

import { remember, remembered } from "./memory.ts";

const order = ["system", "light", "dark"] as const;
type Theme = (typeof order)[number];
const key = "pywasm:theme";

/** Applies the remembered theme and lets the button go round them. */
export function themeButton(button: HTMLButtonElement): void {
  let theme: Theme = order.find((name) => name === remembered(key)) ?? "system";
  const apply = (): void => {
    if (theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    const name = theme === "system" ? "as the system" : theme;
    button.setAttribute("aria-label", `Theme: ${name}`);
    button.title = `Theme: ${name}`;
  };
  apply();
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length] ?? "system";
    apply();
    remember(key, theme);
  });
}
