// Ours: a Generator of the public bundle.
// options: { module: address of generator.js, model: folder of the plan or of a site, open: options }.
import { Decoding } from "./decoding.js";

export default class extends Decoding {
  async start({ options: { module, model, open } }) {
    const { Generator } = await import(module);
    this.generator = await Generator.open(model, open);
    return {};
  }

  /** Of a text; there is no way to give it tokens. */
  async decode({ ids, text: given }, count, onToken) {
    const answer = this.generator.generate({ segments: [{ kind: "text", text: given }] }, { maxTokens: count });
    let text = "";
    for await (const piece of answer) {
      text += piece;
      onToken();
    }
    const { tokens, promptTokens, cachedTokens } = await answer.stats;
    // Texts may begin alike.
    if (promptTokens !== ids.length || cachedTokens > 8) throw new Error(`${promptTokens} tokens, ${cachedTokens} of them cached; expected ${ids.length} that are new`);
    return { text, count: tokens };
  }

  /** ms from asking to the first token of the answer, and what of the prompt was there. */
  async first({ segments }) {
    const before = performance.now();
    const { promptTokens, cachedTokens, sources } = await this.generator.generate({ segments }, { maxTokens: 1 }).stats;
    return { ms: performance.now() - before, promptTokens, cachedTokens, sources };
  }

  /** ms of a run of the last tokens of a context, everything before them being there. */
  async last({ rows, start }) {
    const steps = await this.generator.timings({ rows, start, repeat: 6 });
    return steps.reduce((sum, { ms }) => sum + ms, 0);
  }

  /**
   * The next message of a stored conversation: ms until it was there, ms to the first token of the
   * answer, and how many tokens of the prompt were there.
   */
  async say({ id, text, maxTokens }) {
    const before = performance.now();
    this.chat = await this.generator.conversation({ id });
    const opened = performance.now();
    const { ttftMs, cachedTokens, promptTokens } = await this.chat.send(text, { maxTokens }).stats;
    return { resume: opened - before, first: ttftMs, cachedTokens, promptTokens };
  }

  /** An answer on the page as it comes, between two marks of User Timing. */
  async show({ text, count, marks: [begin, end] }) {
    document.body.textContent = "";
    performance.mark(begin);
    const answer = this.generator.generate({ segments: [{ kind: "text", text }] }, { maxTokens: count });
    for await (const piece of answer) document.body.append(piece);
    performance.mark(end);
  }

  status = () => this.generator.status();
}
