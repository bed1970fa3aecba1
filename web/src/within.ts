/** Waiting for work that others wait for, too: an abort ends the wait, not the work. */
import { aborted } from "./error.ts";

/** `work`, but no longer than until the signal. */
export function within<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(aborted());
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal?.removeEventListener("abort", abort));
  });
}
