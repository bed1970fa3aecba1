/** pywasm as a LangChain.js vector store: `import { PywasmVectorStore } from "pywasm/langchain"`. */
import { Document, type DocumentInterface } from "@langchain/core/documents";
import type { EmbeddingsInterface } from "@langchain/core/embeddings";
import { VectorStore } from "@langchain/core/vectorstores";

import type { Filter, Index, NewRow, Scalar, SearchOptions } from "./pywasm.ts";

export interface PywasmVectorStoreOptions {
  index: Index;
  /** Other search options for every question: recall, mode, rerank, ... */
  search?: Pick<SearchOptions, "recall" | "nprobe" | "efSearch" | "rerank">;
}

/**
 * Documents of an index. Scores are the index's: cosine or inner product (greater is nearer), or
 * squared L2. Only metadata values that are strings or numbers are kept.
 */
export class PywasmVectorStore extends VectorStore {
  declare FilterType: Filter;
  readonly index: Index;
  readonly #search: PywasmVectorStoreOptions["search"];

  constructor(embeddings: EmbeddingsInterface, options: PywasmVectorStoreOptions) {
    super(embeddings, {});
    this.index = options.index;
    this.#search = options.search;
  }

  override _vectorstoreType(): string {
    return "pywasm";
  }

  /** Embeds and adds documents; the ids are given, the documents' own, or new ones. */
  override async addDocuments(documents: DocumentInterface[], options: { ids?: string[] } = {}): Promise<string[]> {
    const vectors = await this.embeddings.embedDocuments(documents.map(({ pageContent }) => pageContent));
    return this.addVectors(vectors, documents, options);
  }

  override async addVectors(vectors: number[][], documents: DocumentInterface[], options: { ids?: string[] } = {}): Promise<string[]> {
    const ids = documents.map(({ id }, index) => options.ids?.[index] ?? id ?? crypto.randomUUID());
    const rows = documents.map(({ pageContent, metadata }, index): NewRow => {
      const { title, url, anchor, ...rest } = metadata as Record<string, unknown>;
      return {
        id: ids[index]!,
        vector: vectors[index]!,
        text: pageContent,
        ...(typeof title === "string" && { title }), ...(typeof url === "string" && { url }), ...(typeof anchor === "string" && { anchor }),
        metadata: scalars(rest),
      };
    });
    await this.index.insert(rows, { replace: true });
    return ids;
  }

  override async similaritySearchVectorWithScore(query: number[], k: number, filter?: Filter): Promise<[DocumentInterface, number][]> {
    const { hits } = await this.index.search({ vector: query }, { k, ...this.#search, ...(filter && { filter }) });
    return hits.map(({ id, text, title, url, anchor, metadata, score }) => [
      new Document({ id, pageContent: text, metadata: { ...metadata, ...(title && { title }), ...(url && { url }), ...(anchor && { anchor }) } }),
      score,
    ]);
  }

  override async delete({ ids }: { ids: string[] }): Promise<void> {
    await this.index.delete(ids);
  }

  static override async fromTexts(texts: string[], metadatas: object[] | object, embeddings: EmbeddingsInterface, options: PywasmVectorStoreOptions): Promise<PywasmVectorStore> {
    const documents = texts.map((pageContent, index) =>
      new Document({ pageContent, metadata: (Array.isArray(metadatas) ? metadatas[index] : metadatas) as Record<string, unknown> }));
    return PywasmVectorStore.fromDocuments(documents, embeddings, options);
  }

  static override async fromDocuments(documents: DocumentInterface[], embeddings: EmbeddingsInterface, options: PywasmVectorStoreOptions): Promise<PywasmVectorStore> {
    const store = new PywasmVectorStore(embeddings, options);
    await store.addDocuments(documents);
    return store;
  }
}

function scalars(metadata: Record<string, unknown>): Record<string, Scalar> {
  return Object.fromEntries(Object.entries(metadata).filter((entry): entry is [string, Scalar] => typeof entry[1] === "string" || typeof entry[1] === "number"));
}
