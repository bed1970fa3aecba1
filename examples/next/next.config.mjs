/** A static export: `next build` writes out/, for any static host. */
export default { output: "export" };
