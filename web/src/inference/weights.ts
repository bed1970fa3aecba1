/** Weights into their final place: a few shards at a time, so that no second copy of all ever exists. */
import type { Plan } from "../generated/plan.ts";
import type { ModelFiles } from "./files.ts";

/** Shards on their way at once: one is read or downloaded while another is checked. */
const PARALLEL = 2;

export async function loadWeights(
  { weights: { shards } }: Plan, files: ModelFiles, place: (offset: number, bytes: number) => Uint8Array, heard: (loaded: number) => void,
): Promise<void> {
  const loaded = shards.map(() => 0);
  let sum = 0;
  let next = 0;
  let offset = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (next < shards.length && !failed) {
      const index = next++;
      const shard = shards[index]!;
      const target = place(offset, shard.bytes);
      offset += shard.bytes;
      await files.into(target, shard, (bytes) => {
        sum += bytes - loaded[index]!;
        loaded[index] = bytes;
        heard(sum);
      }).catch((error: unknown) => {
        failed = true;  // the other lane begins no more
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, lane));
}
