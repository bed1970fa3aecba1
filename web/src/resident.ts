/** Loads the sections that searches scan as a whole into the engine: from storage, else streamed from the site. */
import type { Base } from "./base.ts";
import { Section } from "./generated/abi.ts";
import type { Info } from "./messages.ts";

/** Pages read from storage at a time: 2 MiB. */
const CHUNK = 128;
/** Pages read at a time between searches: 512 KiB, about a millisecond. */
const TURN = 32;

/** The sections worth holding as flat arrays, in the order of their use. */
export function residentSections({ kind, sections }: Info): number[] {
  const wanted =
    kind === "flat" ? [Section.Vectors] :
    kind === "graph" ? [Section.Codes, Section.Graph] :
    [Section.Centroids, Section.Codes];
  return wanted.filter((section) => (sections[section]?.pages ?? 0) > 0);
}

/**
 * Brings all pages of resident `sections`; `progress` is told the bytes. With `later` only room is
 * made at once; what it answers is then waited for before each part.
 */
export async function loadResident(
  base: Base, sections: readonly number[], progress: (loaded: number, total: number) => void, later: Promise<() => Promise<void>> | null = null,
): Promise<void> {
  const { engine, pager } = base;
  const info = engine.info();
  const pages: number[] = [];
  for (const section of sections) engine.makeResident(section);
  const turn = later && (await later);
  for (const section of sections) {
    const { firstPage, pages: count } = info.sections[section]!;
    const part = turn ? TURN : count;
    for (let at = 0; at < count; at += part) {
      if (turn) await turn();
      pager.bringPlaces(firstPage + at, Math.min(part, count - at));
    }
    for (let page = firstPage; page < firstPage + count; page++) pages.push(page);
  }
  const pageBytes = base.manifest.page_bytes;
  let absent = pager.bringNow(pages.sort((left, right) => left - right));
  let loaded = pages.length - absent.length;
  const tell = (): void => progress(loaded * pageBytes, pages.length * pageBytes);
  tell();
  const bringStored = async (): Promise<void> => {
    const { store } = pager;
    for (let at = 0; store && at < absent.length; at += CHUNK) {
      const chunk = absent.slice(at, at + CHUNK).filter((page) => store.has(page));
      if (chunk.length === 0) continue;
      await pager.bring(chunk);
      loaded += chunk.length;
      tell();
    }
    absent = absent.filter((page) => !engine.present(page));
  };
  await bringStored();
  if (absent.length === 0) return;
  try {
    await pager.stream(absent, () => (loaded++, tell()));
  } catch (error) {
    // The tab that owns the files may have been opening them still.
    absent = absent.filter((page) => !engine.present(page));
    await bringStored();
    if (absent.length > 0) throw error;
  }
}
