/** What of a plan there is to tune: its kernels on the shape that it mostly runs, most work first. */
import type { Plan } from "../generated/plan.ts";
import { evaluate, type Symbols } from "../inference/expr.ts";
import type { TuneTask } from "./messages.ts";

/** What of a model is tuned, and for what. */
export interface TuneWork {
  /** Its kernels on the shapes it runs, most time first. */
  tasks: TuneTask[];
  /** Version of what compiled it. */
  compiler: string;
  /** Whether its memory is shared by threads. */
  shared: boolean;
}

/** Of the kernels of `plan`, those that make up all but this share of the arithmetic are left alone. */
const TOO_LITTLE = 0.01;

export function tasksOf(plan: Plan, numeric: "fused" | "separate", symbols: Symbols): TuneTask[] {
  const work = new Map<number, { flops: number; most: number; extents: Record<string, number> }>();
  let total = 0;
  for (const step of plan.steps) {
    const flops = evaluate(step.flops, symbols);
    total += flops;
    const names = plan.kernels[step.kernel]!.extents;
    const extents = Object.fromEntries(names.map((name, index) => [name, evaluate(step.extents[index]!, symbols)]));
    const known = work.get(step.kernel);
    if (!known) work.set(step.kernel, { flops, most: flops, extents });
    else {
      known.flops += flops;
      // A kernel that steps call with different extents is tuned on the largest call.
      if (flops > known.most) Object.assign(known, { most: flops, extents });
    }
  }
  return [...work]
    .filter(([, { flops }]) => flops > total * TOO_LITTLE)
    .sort(([, a], [, b]) => b.flops - a.flops)
    .map(([number, { most, extents }]) => {
      const { export: name, buffers, variants } = plan.kernels[number]!;
      return { kernel: number, name, recipe: variants[numeric].recipe, extents, buffers, flops: most };
    });
}
