/** Web Locks held for as long as something is used. Where there are none (an insecure page), every lock is granted. */

export type Release = () => void;

/** Waits for the lock, then holds it until released. With a signal, waiting can be given up. */
export function holdLock(name: string, mode: LockMode = "exclusive", signal?: AbortSignal): Promise<Release> {
  return request(name, { mode, ...(signal && { signal }) }) as Promise<Release>;
}

/** Holds the lock if it is free at this moment, else null. */
export function tryLock(name: string, mode: LockMode = "exclusive"): Promise<Release | null> {
  return request(name, { mode, ifAvailable: true });
}

function request(name: string, options: LockOptions): Promise<Release | null> {
  if (!navigator.locks) return Promise.resolve(() => undefined);
  return new Promise((resolve, reject) => {
    navigator.locks.request(name, options, (lock) => {
      if (!lock) {
        resolve(null);
        return undefined;
      }
      return new Promise<void>((release) => resolve(release));
    }).catch(reject);
  });
}
