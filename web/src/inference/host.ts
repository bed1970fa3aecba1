/** The worker's side of an encoder: which call is for what. */
import { PywasmError } from "../error.ts";
import { Model } from "./model.ts";
import type { Method } from "./protocol.ts";
import type { Service } from "./service.ts";

/** `spawn` starts a worker with this same script. */
export function encoderService(spawn: () => Worker): Service {
  let model: Model | null = null;

  const opened = (): Model => {
    if (!model) throw new PywasmError("closed", "the encoder is closed");
    return model;
  };

  return {
    async call(method: Method, a, signal, hear) {
      switch (method) {
        case "open": return (model = await Model.open(a[0]!, spawn, hear, signal)).info;
        case "encode": return opened().encode(a[0]!, a[1]!, signal, hear);
        case "run": return opened().run(a[0]!, a[1]!, signal);
        case "status": return opened().status();
        case "timings": return opened().timings(a[0]!, a[1]!, signal);
        case "tuneWork": return opened().tuneWork();
        case "adopt": return opened().adopt(a[0]!);
        case "clear": return opened().clear();
      }
    },
    close() {
      model?.close();
      model = null;
    },
  };
}
