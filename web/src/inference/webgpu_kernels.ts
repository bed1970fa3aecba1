/// <reference types="@webgpu/types" />
/** A plan's kernels on a GPU: a device with the limits they need, and their pipelines. */
import { PywasmError } from "../error.ts";
import type { Expr, Plan, PlanKernel } from "../generated/plan.ts";
import { exprProblem } from "./expr.ts";

/** Of the plan's wgsl file, for one kernel (jit/pywasm_jit/wgsl.py, Shader). */
interface Shader {
  source: string;
  /** For devices with the language feature packed_4x8_integer_dot_product. */
  packed_source?: string;
  entry: string;
  /** x, y, z, over the kernel's extents. */
  workgroups: [Expr, Expr, Expr];
}

export interface GpuKernel {
  layout: GPUBindGroupLayout;
  pipeline: GPUComputePipeline;
  workgroups: [Expr, Expr, Expr];
}

/** At which every device can bind a part of a buffer, bytes. */
export const BIND_ALIGN = 256;
const PACKED = "packed_4x8_integer_dot_product";

/** A device for `plan`; fails with code "unsupported" where there is none, or it is too small. */
export async function openDevice(plan: Plan): Promise<GPUDevice> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  if (!gpu) throw unsupported("this browser has no WebGPU");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) throw unsupported("WebGPU found no adapter");
  const { tensors, bytes } = plan.weights;
  const needed = {
    maxBufferSize: bytes,
    maxStorageBufferBindingSize: Math.max(0, ...tensors.map((tensor) => tensor.bytes)),
    maxStorageBuffersPerShaderStage: Math.max(...plan.kernels.map((kernel) => globals(kernel).length)),
  };
  const requiredLimits: Record<string, number> = {};
  for (const [limit, value] of Object.entries(needed) as [keyof typeof needed, number][]) {
    const most = adapter.limits[limit];
    if (value > most) throw unsupported(`the model needs a ${limit} of ${value}, the GPU has ${most}`);
    // Activations may be larger than any weight: of what is a size, as much as there is.
    requiredLimits[limit] = most;
  }
  const misplaced = tensors.find(({ offset }) => offset % BIND_ALIGN !== 0);
  if (misplaced) throw unsupported(`the plan's weights were placed for WebAssembly alone (${misplaced.name} at ${misplaced.offset})`);
  try {
    return await adapter.requestDevice({ requiredLimits });
  } catch (cause) {
    throw unsupported(`WebGPU gave no device: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

/** The pipelines of all kernels from the text of the plan's wgsl file, compiled next to each other. */
export async function compileShaders(device: GPUDevice, plan: Plan, file: string, text: string): Promise<GpuKernel[]> {
  const shaders = parseShaders(plan, file, text);
  const packed = navigator.gpu.wgslLanguageFeatures?.has(PACKED);
  return Promise.all(shaders.map(async ({ source, packed_source, entry, workgroups }, index) => {
    const kernel = plan.kernels[index]!;
    const entries = globals(kernel).map(({ access }, binding): GPUBindGroupLayoutEntry => ({
      binding, visibility: GPUShaderStage.COMPUTE, buffer: { type: access === "read" ? "read-only-storage" : "storage" },
    }));
    if (kernel.extents.length > 0) entries.push({ binding: entries.length, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } });
    const layout = device.createBindGroupLayout({ entries });
    const module = device.createShaderModule({ code: (packed && packed_source) || source });
    try {
      const pipeline = await device.createComputePipelineAsync({
        layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: entry },
      });
      return { layout, pipeline, workgroups };
    } catch (cause) {
      throw unsupported(`the GPU can't run ${kernel.name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }));
}

/** What is bound, in order: scratch is declared in the shader. */
export function globals(kernel: PlanKernel): PlanKernel["buffers"] {
  return kernel.buffers.filter(({ scratch }) => !scratch);
}

export function unsupported(problem: string): PywasmError {
  return new PywasmError("unsupported", problem);
}

function parseShaders(plan: Plan, file: string, text: string): Shader[] {
  const fail = (problem: string): PywasmError => new PywasmError("corrupt", `${file}: ${problem}`, { file });
  let shaders: (Shader | null)[];
  try {
    shaders = JSON.parse(text) as (Shader | null)[];
  } catch (cause) {
    throw fail(`the plan's shaders expected, found ${String(cause)}`);
  }
  if (!Array.isArray(shaders) || shaders.length !== plan.kernels.length) throw fail(`a shader for each of ${plan.kernels.length} kernels expected`);
  return shaders.map((shader, index) => {
    const kernel = plan.kernels[index]!;
    if (shader === null) throw unsupported(`there is no shader for ${kernel.name}`);
    const { source, entry, workgroups } = shader;
    if (typeof source !== "string" || typeof entry !== "string" || !Array.isArray(workgroups) || workgroups.length !== 3) throw fail(`the shader of ${kernel.name} is incomplete`);
    for (const count of workgroups) {
      const problem = exprProblem(count, kernel.extents);
      if (problem) throw fail(`workgroups of ${kernel.name}: ${problem}`);
    }
    return shader;
  });
}
