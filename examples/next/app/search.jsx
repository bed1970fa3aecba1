"use client";

import { useEffect, useState } from "react";

/** Search as you type over the built site at `site`. */
export default function Search({ site }) {
  const [index, setIndex] = useState(null);
  const [query, setQuery] = useState("");
  const [hits, setHits] = useState([]);

  useEffect(() => {
    // In an effect: the library needs a browser, and the page is also rendered on the server.
    const opening = import("pywasm").then(({ open }) => open(site));
    opening.then(setIndex, console.error);
    return () => { opening.then((opened) => opened.close(), () => {}); };
  }, [site]);

  useEffect(() => {
    if (!index) return;
    const running = new AbortController();
    const show = (results) => setHits(results.hits);
    // What the words find is shown at once, what the meaning finds as soon as the encoder has read the question.
    index.search(query, { k: 10, prefix: true, signal: running.signal, onPartial: show }).then(
      show,
      (error) => { if (error.name !== "AbortError") console.error(error); },
    );
    return () => running.abort();
  }, [index, query]);

  return (
    <main>
      <input id="query" type="search" aria-label="Search" placeholder="Search" value={query} onChange={(event) => setQuery(event.target.value)} />
      <ol id="results">
        {hits.map(({ id, title, url, anchor }) => (
          <li key={id}><a href={anchor ? `${url}#${anchor}` : url}>{title}</a></li>
        ))}
      </ol>
    </main>
  );
}
