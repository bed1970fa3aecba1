/** What opening any compiled model needs: where its files are, and which kernels this device runs. */
import { PywasmError } from "../error.ts";
import type { Plan, PlanModule } from "../generated/plan.ts";
import { canShare, hasRelaxedSimd, hasSimd } from "./features.ts";
import { ModelFiles } from "./files.ts";
import type { Found } from "./find.ts";
import { PLAN_FILE } from "./plan.ts";
import { openStore } from "./store.ts";

/** The most threads that are started by themselves. */
const THREADS = 16;

export interface Device {
  /** That compute, this one included. */
  threads: number;
  /** Memory that they share. */
  shared: boolean;
  /** Rounding of multiply-adds. */
  numeric: "fused" | "separate";
}

/** How this device runs models, with so many threads if that can be (`wanted`). Fails with code "unsupported" without SIMD. */
export function deviceFor(wanted: number | undefined): Device {
  if (!hasSimd()) throw new PywasmError("unsupported", "this browser's WebAssembly has no SIMD (128 bits), which models need: Chrome 91, Firefox 89, Safari 16.4 and later have");
  const most = wanted === undefined ? Math.min((navigator.hardwareConcurrency || 2) - 1, THREADS) : Math.min(wanted, 64);
  const threads = canShare() ? Math.max(1, most) : 1;
  return { threads, shared: threads > 1, numeric: hasRelaxedSimd() ? "fused" : "separate" };
}

/** The plan's text and where its files are. Offline that is where they were found on an earlier visit. */
export async function locate({ address, plan }: Found, carried: string, stored: boolean, signal: AbortSignal): Promise<{ address: string; text: string; files: ModelFiles }> {
  for (const folder of plan === null ? [address, `${address}${carried}`] : [address]) {
    const files = new ModelFiles(new URL(folder), stored ? await openStore(folder) : null, signal);
    const text = plan ?? (await files.plan());
    if (text !== null) return { address: folder, text, files };
  }
  throw new PywasmError("network", `${address}${PLAN_FILE} could not be fetched, and none is stored`, { file: PLAN_FILE });
}

export async function compileKernels(files: ModelFiles, file: PlanModule): Promise<WebAssembly.Module> {
  const bytes = await files.whole(file);
  return WebAssembly.compile(bytes).catch((cause: unknown) => {
    throw new PywasmError("corrupt", `${file.file} is not a WebAssembly module this browser can run: ${cause instanceof Error ? cause.message : String(cause)}`, { file: file.file, cause });
  });
}

/** The kernels for `device`. */
export function moduleFor({ modules }: Plan, { numeric, shared }: Device): PlanModule {
  const module = modules.find((one) => one.numeric === numeric && one.shared === shared);
  if (!module) throw new PywasmError("corrupt", `${PLAN_FILE}: there are no kernels for ${shared ? "several threads" : "one thread"}, ${numeric} multiply-add`, { file: PLAN_FILE });
  return module;
}
