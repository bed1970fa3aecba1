/// <reference types="@webgpu/types" />
/**
 * Runs a plan's WGSL kernels: a run is one compute pass, a dispatch a step. Weights lie in one
 * buffer, every slot in its own (a buffer that a dispatch writes can't be read by it as well).
 */
import { aborted, PywasmError, throwIfAborted } from "../error.ts";
import type { Plan, Port } from "../generated/plan.ts";
import type { Backend, RunOptions, Tensor, Tensors } from "./backend.ts";
import { evaluate, type Symbols } from "./expr.ts";
import type { BackendStatus } from "./types.ts";
import { BIND_ALIGN, compileShaders, globals, openDevice, unsupported, type GpuKernel } from "./webgpu_kernels.ts";

/** Shapes whose bind groups are kept. */
const SHAPES = 32;

/** The plan for one shape. */
interface Prepared {
  /** Extents of every step, BIND_ALIGN apart. */
  uniforms: GPUBuffer;
  groups: GPUBindGroup[];
  workgroups: [number, number, number][];
}

export class WebGpuBackend implements Backend {
  readonly #plan: Plan;
  readonly #device: GPUDevice;
  readonly #kernels: Promise<GpuKernel[]>;
  readonly #weights: GPUBuffer;
  readonly #slots: (GPUBuffer | null)[];
  readonly #prepared = new Map<string, Prepared>();
  #placed = false;
  #closed = false;
  /** Why this device computes no more; null while it does. */
  failed: string | null = null;

  /** `shaders`: reads the plan's wgsl file. Fails with code "unsupported" where this plan can't run on a GPU. */
  static async open(plan: Plan, shaders: () => Promise<Uint8Array>): Promise<WebGpuBackend> {
    const { wgsl } = plan;
    if (!wgsl) throw unsupported("the plan has no shaders");
    const [device, text] = await Promise.all([openDevice(plan), shaders()]);
    try {
      return new WebGpuBackend(plan, device, compileShaders(device, plan, wgsl.file, new TextDecoder().decode(text)));
    } catch (cause) {
      device.destroy();
      throw cause instanceof RangeError ? unsupported(`the GPU has no room for ${plan.weights.bytes} bytes of weights`) : cause;
    }
  }

  private constructor(plan: Plan, device: GPUDevice, kernels: Promise<GpuKernel[]>) {
    this.#plan = plan;
    this.#device = device;
    this.#kernels = kernels;
    kernels.catch(() => undefined);  // start() reports it
    this.#slots = plan.slots.map(() => null);
    this.#weights = device.createBuffer({ size: padded(plan.weights.bytes), usage: GPUBufferUsage.STORAGE, mappedAtCreation: true });
    void device.lost.then(({ message }) => {
      if (!this.#closed) this.failed = `the GPU was lost${message && `: ${message}`}`;
    });
    device.onuncapturederror = ({ error }) => (this.failed ??= `the GPU failed: ${error.message}`);
  }

  place(offset: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#weights.getMappedRange(offset, padded(bytes)), 0, bytes);
  }

  async start(): Promise<void> {
    try {
      await this.#kernels;
    } catch (error) {
      this.failed ??= error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  async run(symbols: Symbols, inputs: Tensors, { signal, steps = null }: RunOptions = {}): Promise<Tensors> {
    throwIfAborted(signal);
    if (!this.#placed) this.#weights.unmap();
    this.#placed = true;
    const kernels = await this.#kernels;
    this.#grow(symbols);
    for (const port of this.#plan.inputs) this.#write(port, symbols, inputs[port.name]);
    const prepared = this.#prepare(kernels, symbols);
    const queue = this.#device.queue;
    if (steps) {
      let from = performance.now();
      for (let step = 0; step < steps.length; step++) {
        queue.submit([this.#encode(kernels, prepared, step, step + 1).finish()]);
        await this.#finished(queue.onSubmittedWorkDone(), signal);
        steps[step] = performance.now() - from;
        from += steps[step]!;
      }
    }
    const encoder = steps ? this.#device.createCommandEncoder() : this.#encode(kernels, prepared, 0, this.#plan.steps.length);
    const reads = this.#plan.outputs.map((port) => this.#copyOut(encoder, port, symbols));
    queue.submit([encoder.finish()]);
    try {
      await this.#finished(Promise.all(reads.map((read) => read.mapAsync(GPUMapMode.READ))), signal);
      return Object.fromEntries(this.#plan.outputs.map((port, index) => {
        const array = ARRAYS[port.dtype]!;
        return [port.name, new array(reads[index]!.getMappedRange().slice(0, sizeOf(port, symbols)))];
      }));
    } finally {
      for (const read of reads) read.destroy();
    }
  }

  adopt(): void {
    throw new PywasmError("argument", "kernels tuned for WebAssembly can't run on a GPU");
  }

  status(): BackendStatus {
    const arena = this.#slots.reduce((sum, slot) => sum + (slot?.size ?? 0), 0);
    const weights = this.#plan.weights.bytes;
    return { backend: "webgpu", numeric: "fused", threads: 1, memory: { weights, arena, scratch: 0, total: weights + arena }, adopted: [] };
  }

  close(): void {
    this.#closed = true;
    this.#device.destroy();
  }

  /** `work`, unless the device is lost, has failed, or `signal` says that nobody waits any more. */
  async #finished(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
    let stop = (): void => undefined;
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(aborted());
      signal?.addEventListener("abort", stop);
    });
    try {
      await Promise.race([work, stopped]);
    } catch (cause) {
      throwIfAborted(signal);
      // That the device is lost is heard a little after what fails by it, and says more.
      await Promise.race([this.#device.lost, new Promise((resolve) => setTimeout(resolve, 50))]);
      this.failed ??= `the GPU failed: ${cause instanceof Error ? cause.message : String(cause)}`;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    if (this.#closed) throw new PywasmError("closed", "the encoder is closed");
    if (this.failed !== null) throw unsupported(this.failed);
  }

  /** Slots large enough for `symbols`. */
  #grow(symbols: Symbols): void {
    this.#plan.slots.forEach(({ bytes }, index) => {
      const size = padded(evaluate(bytes, symbols));
      const held = this.#slots[index];
      if (held && held.size >= size) return;
      const most = this.#device.limits.maxStorageBufferBindingSize;
      if (!(size <= most)) throw new PywasmError("memory", `an activation of ${size} bytes is needed, the GPU binds ${most}: encode fewer or shorter texts at a time`);
      held?.destroy();
      this.#slots[index] = this.#device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
      for (const key of this.#prepared.keys()) this.#forget(key);
    });
  }

  #prepare(kernels: readonly GpuKernel[], symbols: Symbols): Prepared {
    const key = this.#plan.symbols.map((name) => symbols[name]).join();
    const known = this.#prepared.get(key);
    if (known) return known;
    for (const oldest of this.#prepared.keys()) {
      if (this.#prepared.size < SHAPES) break;
      this.#forget(oldest);
    }
    const { steps, weights: { tensors }, slots } = this.#plan;
    const uniforms = this.#device.createBuffer({ size: Math.max(1, steps.length) * BIND_ALIGN, usage: GPUBufferUsage.UNIFORM, mappedAtCreation: true });
    const extents = new Int32Array(uniforms.getMappedRange());
    const groups: GPUBindGroup[] = [];
    const workgroups: [number, number, number][] = [];
    steps.forEach((step, index) => {
      const kernel = this.#plan.kernels[step.kernel]!;
      const { layout, workgroups: counts } = kernels[step.kernel]!;
      const sizes = step.extents.map((extent) => evaluate(extent, symbols));
      extents.set(sizes, (index * BIND_ALIGN) / 4);
      const values = Object.fromEntries(kernel.extents.map((name, at) => [name, sizes[at]!]));
      workgroups.push(counts.map((count) => evaluate(count, values)) as [number, number, number]);
      const resources: GPUBufferBinding[] = [];
      for (const buffer of step.buffers) {
        if ("weight" in buffer) {
          const { offset, bytes } = tensors[buffer.weight]!;
          resources.push({ buffer: this.#weights, offset, size: padded(bytes) });
        } else if ("slot" in buffer) {
          resources.push({ buffer: this.#slots[buffer.slot]!, size: padded(evaluate(slots[buffer.slot]!.bytes, symbols)) });
        }
      }
      if (resources.length !== globals(kernel).length) throw new PywasmError("corrupt", `${step.name}: its scratch buffers are not where those of ${kernel.name} are`);
      if (sizes.length > 0) resources.push({ buffer: uniforms, offset: index * BIND_ALIGN, size: BIND_ALIGN });
      groups.push(this.#device.createBindGroup({ layout, entries: resources.map((resource, binding) => ({ binding, resource })) }));
    });
    uniforms.unmap();
    const prepared = { uniforms, groups, workgroups };
    this.#prepared.set(key, prepared);
    return prepared;
  }

  #forget(key: string): void {
    this.#prepared.get(key)!.uniforms.destroy();
    this.#prepared.delete(key);
  }

  #encode(kernels: readonly GpuKernel[], { groups, workgroups }: Prepared, first: number, end: number): GPUCommandEncoder {
    const encoder = this.#device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let step = first; step < end; step++) {
      pass.setPipeline(kernels[this.#plan.steps[step]!.kernel]!.pipeline);
      pass.setBindGroup(0, groups[step]!);
      pass.dispatchWorkgroups(...workgroups[step]!);
    }
    pass.end();
    return encoder;
  }

  #write(port: Port, symbols: Symbols, values: Tensor | undefined): void {
    const array = ARRAYS[port.dtype];
    if (!array) throw new PywasmError("corrupt", `${port.name}: ${port.dtype} can't be an input or output`);
    const length = sizeOf(port, symbols) / array.BYTES_PER_ELEMENT;
    if (values?.constructor !== array || values.length !== length) {
      throw new PywasmError("argument", `input ${port.name}: ${array.name} of ${length} expected, found ${values ? `${values.constructor.name} of ${values.length}` : "nothing"}`);
    }
    const bytes = new Uint8Array(padded(values.byteLength));
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.#device.queue.writeBuffer(this.#slots[port.slot]!, 0, bytes);
  }

  #copyOut(encoder: GPUCommandEncoder, port: Port, symbols: Symbols): GPUBuffer {
    const size = padded(sizeOf(port, symbols));
    const read = this.#device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    encoder.copyBufferToBuffer(this.#slots[port.slot]!, 0, read, 0, size);
    return read;
  }
}

const ARRAYS: Partial<Record<Port["dtype"], Float32ArrayConstructor | Int32ArrayConstructor | Uint8ArrayConstructor | Int8ArrayConstructor>> = {
  f32: Float32Array, i32: Int32Array, u8: Uint8Array, i8: Int8Array,
};

/** Bytes of a tensor that goes in or comes out. */
function sizeOf({ shape, dtype }: Port, symbols: Symbols): number {
  return shape.reduce<number>((product, size) => product * evaluate(size, symbols), ARRAYS[dtype]!.BYTES_PER_ELEMENT);
}

/** WebGPU copies and binds whole words. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
