/** What went wrong, said to the visitor together with what mends it. */

import { PywasmError } from "../src/pywasm.ts";

export interface Problem {
  title: string;
  text: string;
  /** Label of the button that tries the mend; none where nothing on this page helps. */
  action?: "Try again" | "Clear the stored copy and reload";
}

export function describe(error: unknown): Problem {
  const message = error instanceof Error ? error.message : String(error);
  switch (error instanceof PywasmError ? error.code : undefined) {
    case "network":
      return navigator.onLine
        ? { title: "The index could not be fetched", text: message, action: "Try again" }
        : { title: "You are offline", text: `What has not been stored on this device yet can't be searched. ${message}`, action: "Try again" };
    case "corrupt":
      return { title: "The stored index is damaged", text: message, action: "Clear the stored copy and reload" };
    case "version":
      return { title: "The site is newer than this page", text: `${message} Reloading fetches the new page.`, action: "Try again" };
    case "quota":
    case "storage":
      return { title: "The browser's storage can't be used", text: `The search works without it, but has to fetch more. ${message}`, action: "Try again" };
    case "worker":
      return { title: "The search stopped", text: message, action: "Try again" };
    case "argument":
      return { title: "This search can't be run", text: message };
    default:
      return { title: "Something went wrong", text: message, action: "Try again" };
  }
}

/** Of an answer: the search goes on without it. */
export function describeAnswer(error: unknown): Pick<Problem, "title" | "text"> {
  const text = error instanceof Error ? error.message : String(error);
  switch (error instanceof PywasmError ? error.code : undefined) {
    case "network":
      return { title: "The language model could not be fetched", text };
    case "memory":
      return { title: "This device has not the memory for the language model", text };
    case "argument":
      return { title: "This can't be answered", text };
    case "corrupt":
    case "version":
      return { title: "The language model is not what it should be", text: `${text} The site may have to be deployed again.` };
    default:
      return { title: "There is no answer", text };
  }
}
