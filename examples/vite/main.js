import { open } from "pywasm";

const input = document.querySelector("#query");
const list = document.querySelector("#results");
const index = await open("/site/");
let running;

function show({ hits }) {
  list.replaceChildren(...hits.map(({ title, url, anchor }) => {
    const link = Object.assign(document.createElement("a"), { href: anchor ? `${url}#${anchor}` : url, textContent: title });
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
}

// What the words find is shown at once, what the meaning finds as soon as the encoder has read the question.
input.addEventListener("input", async () => {
  running?.abort();
  running = new AbortController();
  try {
    show(await index.search(input.value, { k: 10, prefix: true, signal: running.signal, onPartial: show }));
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
});
