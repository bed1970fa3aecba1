// Ours. `options.module` is the site's bundle, `options.open` what open() gets.
export default class {
  async start({ options: { module, site, open } }) {
    const library = await import(module);
    this.index = await library.open(site, open);
    return { title: this.index.site.title, rows: this.index.site.rows };
  }

  search(query, k, parameter) {
    return this.index.search(query, { k, ...parameter });
  }

  // Rows of vectors without documents are known by their number in the input.
  ids = ({ hits }) => hits.map(({ id }) => Number(id));

  close() {
    return this.index.close();
  }

  status() {
    return this.index.status();
  }
}
