// Where the built site is: https://cdn.example/docs/ in life, ?site=http://localhost:8001/ here.
const site = new URL(new URLSearchParams(location.search).get("site") ?? "http://localhost:8001/");
const bundle = new URL("pywasm/", site);

const { open } = await import(new URL("pywasm.js", bundle).href);
const index = await open(site, {
  workerUrl: new URL("worker.js", bundle),
  wasmUrl: new URL("engine.wasm", bundle),
});

const input = document.querySelector("#query");
const list = document.querySelector("#results");
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
