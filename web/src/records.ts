/** What is known of rows: id, text and the payload that `pywasm build` or an insert wrote. */
import type { Scalar } from "./types.ts";
import { decodeStrings } from "./messages.ts";

export interface RowRecord {
  id: string;
  text: string;
  title: string;
  url: string;
  anchor: string;
  metadata: Record<string, Scalar>;
}

/** The answer to the Records operation. */
export function decodeRecords(bytes: Uint8Array): RowRecord[] {
  const [ids = [], texts = [], payloads = []] = decodeStrings(bytes, 3);
  return ids.map((id, index) => ({ id, text: texts[index] ?? "", ...parsePayload(payloads[index] ?? "") }));
}

function parsePayload(payload: string): Omit<RowRecord, "id" | "text"> {
  // An index of bare vectors has no payloads.
  const { title = "", url = "", anchor = "", metadata = {} } = (payload === "" ? {} : JSON.parse(payload)) as Partial<RowRecord>;
  return { title, url, anchor, metadata };
}
