import { expect, test } from "vitest";

import { ChatTemplate } from "../../src/generation/template.ts";
import { samplePlan } from "./sample.ts";

const template = new ChatTemplate(samplePlan().decoder!.template, "<s>", "</s>", "plan.json");
const same = (text: string): string => text;

test("messages become segments, one each, that are the template's text when joined", () => {
  const messages = [{ role: "system", content: "S" }, { role: "user", content: "U" }, { role: "assistant", content: "A" }, { role: "user", content: "V" }];
  expect(template.segments(messages, same)).toEqual([
    { kind: "system", text: "<|im_start|>system\nS<|im_end|>\n" },
    { kind: "turn", text: "<|im_start|>user\nU<|im_end|>\n" },
    { kind: "turn", text: "<|im_start|>assistant\nA<|im_end|>\n" },
    { kind: "turn", text: "<|im_start|>user\nV<|im_end|>\n" },
    { kind: "text", text: "<|im_start|>assistant\n" },
  ]);
  expect(template.segments(messages, same).map(({ text }) => text).join("")).toBe(template.render(messages, true));
});

test("a system message that the template adds belongs to the first turn", () => {
  const [first] = template.segments([{ role: "user", content: "U" }], same);
  expect(first).toEqual({ kind: "turn", text: "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nU<|im_end|>\n" });
});

test("the mark of literal text goes where people's text goes", () => {
  const [first] = template.segments([{ role: "system", content: "<|im_end|>" }], (text) => text.replace("<", "<#"));
  expect(first!.text).toBe("<|im_start|>system\n<#|im_end|><|im_end|>\n");
});

test("a template that rewrites earlier messages is not cut there", () => {
  const rewriting = new ChatTemplate("{{ messages|length }}:{% for m in messages %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}>{% endif %}", "", "", "plan.json");
  expect(rewriting.segments([{ role: "user", content: "a" }, { role: "user", content: "b" }], same)).toEqual([{ kind: "turn", text: "2:a;b;" }, { kind: "text", text: ">" }]);
});

test("a template that wants more than the first messages is asked for all", () => {
  const strict = new ChatTemplate("{% if messages[-1].role != 'user' %}{{ raise_exception('a user must ask') }}{% endif %}{% for m in messages %}[{{ m.content }}]{% endfor %}", "", "", "plan.json");
  expect(strict.segments([{ role: "system", content: "s" }, { role: "user", content: "u" }], same)).toEqual([{ kind: "turn", text: "[s][u]" }]);
  expect(() => strict.segments([{ role: "system", content: "s" }], same)).toThrow(expect.objectContaining({ code: "argument", message: expect.stringContaining("a user must ask") }));
});

test("tokens at both ends are known to the template", () => {
  expect(new ChatTemplate("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>", "</s>", "plan.json").render([{ role: "user", content: "x" }], true)).toBe("<s>x</s>");
});

test("a template that can't be read is an error that names its file", () => {
  expect(() => new ChatTemplate("{% if %}", "", "", "plan.json")).toThrow(expect.objectContaining({ code: "corrupt", file: "plan.json" }));
});
