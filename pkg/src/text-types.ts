// Shapes of OpenAI's embeddings and of Cohere's and Jina's rerank interfaces.
import type { RequestOptions } from './openai-types.js';

/** How far a request with several texts has come. */
export interface TextProgress {
  /** Texts done. */
  done: number;
  /** Texts in all. */
  total: number;
}

/** Options of requests that read texts without writing one. */
export interface TextOptions extends Pick<RequestOptions, 'signal'> {
  /** Called after each text. */
  onProgress?: ((progress: TextProgress) => void) | undefined;
  /**
   * Cut what is longer than the model reads (the document, in a rerank request). Default: false, such a request
   * rejects with code `context_full`.
   */
  truncate?: boolean | undefined;
}

/** Token ids of a text; nothing is added to them. */
export type TokenIds = readonly number[] | Uint32Array;

/** What to embed, and how. */
export interface EmbeddingParams extends TextOptions {
  /**
   * One text or several, as strings or as token ids. Some models expect a word on the text's purpose in front, such as
   * `search_query: `; their model cards say so.
   */
  input: string | readonly string[] | TokenIds | readonly TokenIds[];
  /**
   * Keep only the first values, and make the rest an embedding of length one again. Only for models that were trained
   * for it (Matryoshka embeddings).
   */
  dimensions?: number | null | undefined;
  /** How the vectors of the tokens become one. Default: as the file says. */
  pooling?: 'mean' | 'cls' | 'last' | undefined;
  /** `false`: leave the vectors as long as the model makes them; from a reranker these are its bare scores. */
  normalize?: boolean | undefined;
  /** `base64`: the bytes of little-endian 32-bit floats instead of numbers. Default: `float`. */
  encoding_format?: 'float' | 'base64' | null | undefined;
}

/** One vector of length one. */
export interface Embedding<Vector = number[]> {
  object: 'embedding';
  /** Place of the text in the input. */
  index: number;
  embedding: Vector;
}

/** Tokens read. */
export interface TextUsage {
  prompt_tokens: number;
  total_tokens: number;
}

/** Embeddings in the order of the input. */
export interface EmbeddingResponse<Vector = number[]> {
  object: 'list';
  data: Embedding<Vector>[];
  /** The model's name. */
  model: string;
  usage: TextUsage;
}

/** What to sort, and how. */
export interface RerankParams extends TextOptions {
  /** What is looked for. */
  query: string;
  /** What may answer it. */
  documents: readonly (string | { readonly text: string })[];
  /** Return only so many of the best. Default: all. */
  top_n?: number | null | undefined;
  /** Put the documents into the results. Default: false. */
  return_documents?: boolean | null | undefined;
}

/** The score of one document. */
export interface RerankResult {
  /** Place of the document in the request. */
  index: number;
  /** From 0, nothing to do with the query, to 1. */
  relevance_score: number;
  /** With `return_documents`. */
  document?: { text: string };
}

/** Documents, the most relevant first. */
export interface RerankResponse {
  object: 'list';
  results: RerankResult[];
  /** The model's name. */
  model: string;
  usage: TextUsage;
}
