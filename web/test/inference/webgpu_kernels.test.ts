import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { Plan } from "../../src/generated/plan.ts";
import { compileShaders, openDevice } from "../../src/inference/webgpu_kernels.ts";
import { samplePlan } from "./sample.ts";

const LIMITS = { maxBufferSize: 1 << 28, maxStorageBufferBindingSize: 1 << 27, maxStorageBuffersPerShaderStage: 8 };

let plan: Plan;

beforeEach(async () => {
  plan = await samplePlan();
  // Placed as for WebGPU.
  plan.weights.tensors.forEach((tensor, index) => (tensor.offset = 256 * index));
});

afterEach(() => vi.unstubAllGlobals());

/** A browser whose adapter has these limits (null: there is none); what requestDevice was called with. */
function browser(limits: Partial<typeof LIMITS> | null): { asked: unknown[] } {
  const asked: unknown[] = [];
  const requestDevice = async (descriptor: unknown): Promise<string> => {
    asked.push(descriptor);
    return "device";
  };
  const adapter = limits && { limits: { ...LIMITS, ...limits }, requestDevice };
  vi.stubGlobal("navigator", { gpu: { requestAdapter: async () => adapter, wgslLanguageFeatures: new Set() } });
  return { asked };
}

test("the device has all the memory that there is", async () => {
  const { asked } = browser({});
  expect(await openDevice(plan)).toBe("device");
  expect(asked).toEqual([{ requiredLimits: LIMITS }]);
});

test.each<[string, Partial<typeof LIMITS> | null, string]>([
  ["no adapter", null, "no adapter"],
  ["too small a buffer", { maxBufferSize: 16 }, "a maxBufferSize of \\d+, the GPU has 16"],
  ["too small a binding", { maxStorageBufferBindingSize: 4 }, "maxStorageBufferBindingSize"],
  ["too few buffers", { maxStorageBuffersPerShaderStage: 1 }, "maxStorageBuffersPerShaderStage"],
])("%s is unsupported", async (_, limits, message) => {
  browser(limits);
  await expect(openDevice(plan)).rejects.toMatchObject({ code: "unsupported", message: expect.stringMatching(message) });
});

test("no WebGPU, or weights that can't be bound, are unsupported", async () => {
  vi.stubGlobal("navigator", {});
  await expect(openDevice(plan)).rejects.toMatchObject({ code: "unsupported" });
  browser({});
  plan.weights.tensors[1]!.offset = 64;
  await expect(openDevice(plan)).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining(plan.weights.tensors[1]!.name) });
});

/** Takes shaders as they come; one with "bad" in it does not compile. */
function device(): { made: string[] } & Record<string, unknown> {
  const made: string[] = [];
  vi.stubGlobal("GPUShaderStage", { COMPUTE: 4 });
  return {
    made,
    createBindGroupLayout: (layout: unknown) => layout,
    createPipelineLayout: (layout: unknown) => layout,
    createShaderModule: ({ code }: { code: string }) => code,
    createComputePipelineAsync: async ({ compute: { module } }: { compute: { module: string } }) => {
      if (module.includes("bad")) throw new Error("expected ';'");
      made.push(module);
      return module;
    },
  };
}

function shaders(change: Record<string, unknown> = {}): unknown[] {
  return plan.kernels.map(({ extents }) => ({ source: "plain", packed_source: "packed", entry: "main", workgroups: [extents[0] ?? 1, 1, 1], ...change }));
}

test("buffers are bound in the kernel's order, scratch is not, extents come last", async () => {
  browser({});
  const gpu = device();
  const kernels = await compileShaders(gpu as never, plan, "wgsl.json", JSON.stringify(shaders()));
  expect(gpu.made).toEqual(plan.kernels.map(() => "plain"));
  kernels.forEach(({ layout }, index) => {
    const { buffers, extents } = plan.kernels[index]!;
    const { entries } = layout as unknown as { entries: { binding: number; buffer: { type: string } }[] };
    const types = buffers.filter(({ scratch }) => !scratch).map(({ access }) => (access === "read" ? "read-only-storage" : "storage"));
    expect(entries.map(({ buffer }) => buffer.type)).toEqual([...types, ...(extents.length > 0 ? ["uniform"] : [])]);
    expect(entries.map(({ binding }) => binding)).toEqual(entries.map((_, at) => at));
  });
});

test("shaders with packed products are for browsers that have them", async () => {
  browser({});
  (navigator.gpu.wgslLanguageFeatures as Set<string>).add("packed_4x8_integer_dot_product");
  const gpu = device();
  await compileShaders(gpu as never, plan, "wgsl.json", JSON.stringify(shaders()));
  expect(gpu.made).toEqual(plan.kernels.map(() => "packed"));
});

test.each<[string, () => string, string, string]>([
  ["no JSON", () => "<html>", "corrupt", "wgsl.json"],
  ["too few", () => "[]", "corrupt", "a shader for each"],
  ["no source", () => JSON.stringify(shaders({ source: 1 })), "corrupt", "incomplete"],
  ["workgroups over what is no extent", () => JSON.stringify(shaders({ workgroups: ["cows", 1, 1] })), "corrupt", "cows"],
  ["a kernel that has none", () => JSON.stringify(shaders().map(() => null)), "unsupported", "no shader for"],
  ["one that does not compile", () => JSON.stringify(shaders({ source: "bad" })), "unsupported", "expected ';'"],
])("%s: refused", async (_, text, code, message) => {
  browser({});
  await expect(compileShaders(device() as never, plan, "wgsl.json", text())).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});
