/** A thread of the pool: does its part of every step of the runs that thread 0 starts. */
import { Crew } from "./crew.ts";
import { Kernels, type KernelNames } from "./kernels.ts";
import { callsOf, type Call, type Program } from "./program.ts";

export type ThreadMessage =
  | { kind: "start"; memory: WebAssembly.Memory; module: WebAssembly.Module; names: KernelNames; threads: number }
  | { kind: "program"; id: number; program: Program; scratch: number }
  | { kind: "forget"; id: number }
  | { kind: "run"; run: number; id: number }
  | { kind: "adopt"; module: WebAssembly.Module; names: KernelNames };

/** To `start` and to every `run`. */
export type ThreadReply = { error?: string };

/** What a worker's global scope and a MessagePort have in common. */
export interface Channel {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

export function isThreadStart(message: unknown): message is ThreadMessage {
  return (message as ThreadMessage | undefined)?.kind === "start";
}

/** Takes the messages of `channel`, "start" first. */
export function threadOf(channel: Channel): (message: ThreadMessage) => void {
  const programs = new Map<number, Call[]>();
  let kernels: Kernels;
  let memory: WebAssembly.Memory;
  let threads = 1;

  const reply = (work: () => void): void => {
    try {
      work();
      channel.postMessage({} satisfies ThreadReply);
    } catch (error) {
      channel.postMessage({ error: String(error) } satisfies ThreadReply);
    }
  };

  const run = (crew: Crew): void => {
    try {
      crew.work(kernels.perform);
    } catch (error) {
      crew.fail();
      throw error;
    }
  };

  return (message) => {
    switch (message.kind) {
      case "start":
        reply(() => {
          ({ memory, threads } = message);
          kernels = new Kernels(memory);
          kernels.adopt(message.module, message.names);
        });
        break;
      case "program":
        programs.set(message.id, callsOf(message.program, message.scratch, threads));
        break;
      case "forget":
        programs.delete(message.id);
        break;
      case "run":
        reply(() => run(new Crew(memory, message.run, programs.get(message.id)!)));
        break;
      case "adopt":
        kernels.adopt(message.module, message.names);  // thread 0 has done the same without an error
        break;
    }
  };
}
