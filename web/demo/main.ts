/** The page of a built site: opens its index and connects the parts to it. */

import { open } from "../src/pywasm.ts";
import { byId, h } from "./dom.ts";
import { describe } from "./problems.ts";
import { tuneWanted } from "./encoding.ts";
import { loadingLine } from "./loading.ts";
import { SearchPage } from "./page.ts";
import { themeButton } from "./theme.ts";

themeButton(byId("theme", HTMLButtonElement));
const loading = loadingLine();

try {
  const index = await open(new URL("./", document.baseURI), { onProgress: loading.progress, offline: true, encoder: { tune: tuneWanted() } });
  new SearchPage(index, loading);
} catch (error) {
  const { title, text } = describe(error);
  loading.hide();
  byId("notice", HTMLElement).replaceChildren(h("div", { class: "problem", role: "alert" },
    h("h2", {}, title), h("p", {}, text),
    h("button", { type: "button", class: "quiet", onclick: () => { location.reload(); } }, "Try again")));
}
