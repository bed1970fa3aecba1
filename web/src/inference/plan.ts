/**
 * Reading plan.json. It comes from a host that may be wrong or hostile, so everything that the
 * runtime computes addresses or sizes from is checked here, before anything is allocated.
 */
import { PywasmError } from "../error.ts";
import { PLAN_FORMAT, type Expr, type Plan, type PlanDecoder, type PlanEncoder, type PlanFile } from "../generated/plan.ts";
import { MOST_STEPS } from "./crew.ts";
import { exprProblem } from "./expr.ts";

export const PLAN_FILE = "plan.json";
/** The longest shard that is accepted, bytes: what is fetched at a time. */
const SHARD_BYTES = 16 << 20;
/** What a 32-bit memory can hold of weights, leaving room to work. */
const WEIGHTS_BYTES = 3.5 * 2 ** 30;
/** Of one buffer that every thread has of its own. */
const SCRATCH_BYTES = 64 << 20;
/** Arguments that are scratch addresses are marked by bits of an i32 (program.ts). */
const ARGUMENTS = 31;
const ALIGN = 64;
/** Tokens of a KV block: what the cache counts in. */
const KV_BLOCK = 32;
const KV_BLOCK_BYTES = 64 << 20;
/** A file beside the plan, never elsewhere. */
const FILE_NAME = /^[\w-][\w.-]*$/;

/** The plan in the text of `file`; an error says which part is not as it must be. */
export function parsePlan(text: string, file: string): Plan {
  let plan: Plan;
  try {
    plan = JSON.parse(text) as Plan;
  } catch (cause) {
    const found = text.trimStart().startsWith("<") ? "an HTML page" : String(cause);
    throw new PywasmError("corrupt", `${file}: the plan of a compiled model expected, found ${found}`, { file, offset: 0, cause });
  }
  if (typeof plan?.format === "number" && plan.format > PLAN_FORMAT) {
    throw new PywasmError("version", `${file} is of format ${plan.format}, this library reads up to ${PLAN_FORMAT}: load a newer pywasm`, { file, expected: String(PLAN_FORMAT) });
  }
  const check = new Checker(file);
  try {
    check.plan(plan);
  } catch (cause) {
    if (cause instanceof PywasmError) throw cause;
    throw check.error(`something is missing or of another kind (${String(cause)})`);  // a TypeError on the way into it
  }
  return plan;
}

class Checker {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  error(problem: string): PywasmError {
    return new PywasmError("corrupt", `${this.#file}: ${problem}`, { file: this.#file });
  }

  plan(plan: Plan): void {
    this.#that(plan.format === PLAN_FORMAT, `format ${PLAN_FORMAT} expected, found ${JSON.stringify(plan.format)}`);
    this.#that(Array.isArray(plan.symbols) && plan.symbols.every((symbol) => typeof symbol === "string"), "symbols: a list of names expected");
    this.#that(typeof plan.limits === "object" && plan.limits !== null && !Array.isArray(plan.limits), "limits: an object expected");
    if (plan.kind === "encoder") this.#encoder(plan.encoder!);
    else this.#decoder(plan, plan.decoder!);
    this.#weights(plan);
    this.#that(plan.kernels.length > 0 && plan.kernels.length <= MOST_STEPS, `${plan.kernels.length} kernels`);
    plan.kernels.forEach((kernel, index) => {
      const where = `kernels[${index}]`;
      this.#that(typeof kernel.export === "string", `${where} has no export`);
      for (const bytes of kernel.scratch) this.#size(bytes, SCRATCH_BYTES, `${where}.scratch`);
      this.#that(kernel.scratch.length === kernel.buffers.filter(({ scratch }) => scratch).length, `${where}: as many sizes as scratch buffers expected`);
      for (const numeric of ["fused", "separate"] as const) this.#expr(kernel.variants[numeric].grid, kernel.extents, `${where}.grid`);
    });
    this.#that(plan.steps.length <= MOST_STEPS, `${plan.steps.length} steps`);
    plan.steps.forEach((step, index) => this.#step(plan, step, `steps[${index}]`));
    this.#that(plan.slots.length <= MOST_STEPS, `${plan.slots.length} slots`);
    plan.slots.forEach((slot, index) => this.#expr(slot.bytes, plan.symbols, `slots[${index}]`));
    for (const port of [...plan.inputs, ...plan.outputs]) {
      this.#index(port.slot, plan.slots, `${port.name}.slot`);
      port.shape.forEach((size) => this.#expr(size, plan.symbols, port.name));
    }
    for (const [symbol, limit] of Object.entries(plan.limits)) {
      this.#that(plan.symbols.includes(symbol) && Number.isSafeInteger(limit) && limit > 0, `limits.${symbol} is ${limit}`);
    }
    this.#that(Array.isArray(plan.modules), "modules are missing");
    plan.modules.forEach((module, index) => this.#file_(module, 64 << 20, `modules[${index}]`));
    if (plan.wgsl) this.#file_(plan.wgsl, 64 << 20, "wgsl");
  }

  #encoder(encoder: PlanEncoder): void {
    this.#file_(encoder.tokenizer, 64 << 20, "encoder.tokenizer");
    this.#size(encoder.dim, 1 << 20, "encoder.dim");
    this.#size(encoder.max_tokens, 1 << 20, "encoder.max_tokens");
    this.#that(typeof encoder.query_prefix === "string" && typeof encoder.document_prefix === "string", "encoder: prefixes are missing");
  }

  #decoder({ kind, kernels, steps, symbols, inputs, outputs }: Plan, decoder: PlanDecoder): void {
    this.#that(kind === "decoder", `kind: "encoder" or "decoder" expected, found ${JSON.stringify(kind)}`);
    const { vocab, context, layers, chunk, head, kv_block: block, kv_block_bytes: bytes, tokenizer, template, bos, eos, aux } = decoder;
    for (const [name, value] of Object.entries({ vocab, context, layers, chunk })) {
      this.#that(Number.isSafeInteger(value) && value > 0 && value <= 1 << 24, `decoder.${name} is ${value}`);
    }
    this.#that(block === KV_BLOCK && context % block === 0, `decoder: blocks of ${KV_BLOCK} tokens in a context of whole blocks expected, found ${block} in ${context}`);
    this.#that(Number.isSafeInteger(bytes) && bytes > 0 && bytes <= KV_BLOCK_BYTES && bytes % (layers * ALIGN) === 0, `decoder.kv_block_bytes is ${bytes}, for ${layers} layers`);
    this.#file_(tokenizer, 64 << 20, "decoder.tokenizer");
    this.#that(typeof template === "string", "decoder.template is missing");
    for (const token of bos === null ? eos : [bos, ...eos]) this.#that(Number.isInteger(token) && token >= 0 && token < vocab, `decoder: token ${token} in a vocabulary of ${vocab}`);
    this.#that(Number.isInteger(head) && head >= 0 && head <= steps.length, `decoder.head is ${head}, there are ${steps.length} steps`);
    for (const [name, kernel] of Object.entries(aux)) this.#index(kernel, kernels, `decoder.aux.${name}`);
    this.#that(symbols.join() === "rows", `symbols: rows expected, found ${symbols.join()}`);
    const ports = [...inputs, ...outputs].map(({ name, dtype, shape }) => `${name} ${dtype} ${JSON.stringify(shape)}`);
    const wanted = ['ids i32 ["rows"]', "place i32 [2]", `table i32 [${context / block}]`, `logits f32 [${vocab}]`];
    this.#that(ports.join() === wanted.join(), `inputs and outputs: ${wanted.join(", ")} expected, found ${ports.join(", ")}`);
  }

  #weights({ weights }: Plan): void {
    this.#size(weights.bytes, WEIGHTS_BYTES, "weights.bytes");
    let sum = 0;
    weights.shards.forEach((shard, index) => {
      this.#file_(shard, SHARD_BYTES, `weights.shards[${index}]`);
      sum += shard.bytes;
    });
    this.#that(sum === weights.bytes, `the shards have ${sum} bytes, weights.bytes says ${weights.bytes}`);
    weights.tensors.forEach(({ offset, bytes }, index) => {
      const where = `weights.tensors[${index}]`;
      this.#size(offset, weights.bytes, where);
      this.#size(bytes, weights.bytes - offset, where);
      this.#that(offset % ALIGN === 0, `${where}: offset ${offset} is not a multiple of ${ALIGN}`);
    });
  }

  #step(plan: Plan, step: Plan["steps"][number], where: string): void {
    this.#index(step.kernel, plan.kernels, `${where}.kernel`);
    const kernel = plan.kernels[step.kernel]!;
    this.#that(step.buffers.length === kernel.buffers.length, `${where}: ${kernel.buffers.length} buffers expected, found ${step.buffers.length}`);
    this.#that(step.extents.length === kernel.extents.length, `${where}: ${kernel.extents.length} extents expected, found ${step.extents.length}`);
    this.#that(step.buffers.length + step.extents.length <= ARGUMENTS, `${where}: more than ${ARGUMENTS} arguments`);
    for (const extent of step.extents) this.#expr(extent, plan.symbols, where);
    this.#expr(step.flops, plan.symbols, where);
    for (const buffer of step.buffers) {
      if ("weight" in buffer) this.#index(buffer.weight, plan.weights.tensors, `${where}.weight`);
      else if ("slot" in buffer) this.#index(buffer.slot, plan.slots, `${where}.slot`);
      else if ("kv" in buffer) this.#that(Number.isInteger(buffer.kv) && buffer.kv >= 0 && buffer.kv < (plan.decoder?.layers ?? 0), `${where}.kv is ${buffer.kv}, there are ${plan.decoder?.layers ?? 0} layers`);
      else this.#index(buffer.scratch, kernel.scratch, `${where}.scratch`);
    }
  }

  #file_(file: PlanFile, most: number, where: string): void {
    this.#that(FILE_NAME.test(file.file), `${where}: ${JSON.stringify(file.file)} is no name of a file beside the plan`);
    this.#size(file.bytes, most, where);
    this.#that(/^[0-9a-f]{64}$/.test(file.sha256), `${where}: its SHA-256 is missing`);
  }

  #expr(expr: Expr, symbols: readonly string[], where: string): void {
    const problem = exprProblem(expr, symbols);
    if (problem) throw this.error(`${where}: ${problem}`);
  }

  #index(index: number, of: readonly unknown[], where: string): void {
    this.#that(Number.isInteger(index) && index >= 0 && index < of.length, `${where} is ${index}, there are ${of.length}`);
  }

  #size(bytes: number, most: number, where: string): void {
    this.#that(Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= most, `${where}: ${bytes} is not from 0 to ${most}`);
  }

  #that(holds: boolean, problem: string): void {
    if (!holds) throw this.error(problem);
  }
}
