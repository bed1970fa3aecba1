/** Sizes of a plan: whole numbers over its symbols, worked out once for every (batch, seq). */
import type { Expr } from "../generated/plan.ts";

export type Symbols = Readonly<Record<string, number>>;

/** Deeper than any compiler writes; checkExpr refuses more, so that evaluate can't overflow the stack. */
const DEPTH = 32;

/** The number that a checked `expr` is. */
export function evaluate(expr: Expr, symbols: Symbols): number {
  if (typeof expr === "number") return expr;
  if (typeof expr === "string") return symbols[expr]!;
  const args = (expr.slice(1) as Expr[]).map((part) => evaluate(part, symbols));
  const [a, b] = args as [number, number];
  switch (expr[0]) {
    case "+": return args.reduce((sum, value) => sum + value);
    case "*": return args.reduce((product, value) => product * value);
    case "-": return a - b;
    case "quo": return Math.floor(a / b);
    case "ceil_div": return Math.ceil(a / b);
    case "min": return Math.min(...args);
    case "max": return Math.max(...args);
  }
}

/** What is wrong with `expr`, as a phrase; null if it can be evaluated over `symbols`. */
export function exprProblem(expr: unknown, symbols: readonly string[], depth = 0): string | null {
  if (typeof expr === "number") return Number.isSafeInteger(expr) ? null : `${expr} is not a whole number`;
  if (typeof expr === "string") return symbols.includes(expr) ? null : `there is no symbol ${JSON.stringify(expr)}`;
  if (!Array.isArray(expr)) return `${JSON.stringify(expr)} is no size`;
  if (depth === DEPTH) return "it is nested too deeply";
  const [operator, ...parts] = expr as unknown[];
  const pair = ["-", "quo", "ceil_div"].includes(operator as string);
  if (!pair && !["+", "*", "min", "max"].includes(operator as string)) return `there is no operator ${JSON.stringify(operator)}`;
  if (pair ? parts.length !== 2 : parts.length === 0) return `${operator as string} has ${parts.length} arguments`;
  for (const part of parts) {
    const problem = exprProblem(part, symbols, depth + 1);
    if (problem) return problem;
  }
  return null;
}
