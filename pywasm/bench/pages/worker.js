// One engine in a module worker: { id, method, argument } in, { id, value | error } out.
import { Host } from "./host.js";

const host = new Host();
addEventListener("message", async ({ data: { id, method, argument } }) => {
  try {
    postMessage({ id, value: await host[method](argument) });
  } catch (error) {
    const { name, message, code } = error;
    postMessage({ id, error: { name, message, code } });
  }
});
