/** The worker's side of a generator: which call is for what. */
import { PywasmError } from "../error.ts";
import type { Service } from "../inference/service.ts";
import { GeneratorModel } from "./model.ts";
import type { Method } from "./protocol.ts";
import { removeModel } from "./remove.ts";

/** `spawn` starts a worker with this same script. */
export function generatorService(spawn: () => Worker): Service {
  let model: GeneratorModel | null = null;

  const opened = (): GeneratorModel => {
    if (!model) throw new PywasmError("closed", "the generator is closed");
    return model;
  };

  return {
    async call(method: Method, a, signal, hear) {
      switch (method) {
        case "open": return (model = await GeneratorModel.open(a[0]!, spawn, hear, signal)).info;
        case "generate": return opened().generate(a[0]!, signal, hear);
        case "logits": return opened().logits(a[0]!, signal);
        case "prefetch": return opened().prefetch(a[0]!, signal);
        case "tokenize": return opened().tokenize(a[0]!);
        case "status": return opened().status();
        case "timings": return opened().timings(a[0]!, a[1]!, a[2]!, signal);
        case "order": return opened().order(a[0]!, a[1]!);
        case "conversation": return opened().conversations.open(a[0]!);
        case "send": return opened().conversations.send(a[0]!, signal, hear);
        case "forget": return opened().conversations.forget(a[0]!, a[1]!);
        case "conversations": return opened().conversations.ids();
        case "clear": return opened().clear();
        case "remove": return removeModel(a[0]!);
      }
    },
    close() {
      model?.close();
      model = null;
    },
  };
}
