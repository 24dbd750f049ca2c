// Embeddings and reranking on the page's side: checks requests, asks the worker, shapes the answers.
import { invalid } from './checks.js';
import type { Client } from './client.js';
import type { CoreText } from './protocol.js';
import type {
  EmbeddingParams,
  EmbeddingResponse,
  RerankParams,
  RerankResponse,
  TextUsage,
  TokenIds,
} from './text-types.js';

/** OpenAI's embeddings interface. */
export interface Embeddings {
  /** Embeds texts, as base64 of their bytes. */
  create(params: EmbeddingParams & { encoding_format: 'base64' }): Promise<EmbeddingResponse<string>>;
  /** Embeds texts; resolves when all are done. Requests wait for each other. */
  create(
    params: EmbeddingParams & { encoding_format?: 'float' | null | undefined },
  ): Promise<EmbeddingResponse>;
}

/** The embeddings interface of the engine behind `client`. */
export function embeddings(client: Client, model: string): Embeddings {
  const create = async (params: EmbeddingParams): Promise<EmbeddingResponse<string | number[]>> => {
    const { dimensions, pooling, encoding_format = 'float', signal, onProgress } = params;
    if (encoding_format !== null && encoding_format !== 'float' && encoding_format !== 'base64') {
      throw invalid(`\`encoding_format\` is "${String(encoding_format)}"; it can be "float" or "base64".`);
    }
    const options = {
      truncate: params.truncate ?? false,
      ...(dimensions !== null && dimensions !== undefined && { dimensions }),
      ...(pooling !== undefined && { pooling }),
      ...(params.normalize === false && { raw: true }),
    };
    const call = { texts: textsOf(params.input), options };
    const { vectors, tokens } = await client.call('embed', call, { signal, onTexts: onProgress });
    const shaped = encoding_format === 'base64' ? base64 : Array.from<number>;
    return {
      object: 'list',
      data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: shaped(vector) })),
      model,
      usage: usage(tokens),
    };
  };
  return { create: create as Embeddings['create'] };
}

/** Documents in the order of their relevance. */
export async function rerank(client: Client, model: string, params: RerankParams): Promise<RerankResponse> {
  const { query, top_n, return_documents, truncate = false, signal, onProgress } = params;
  if (typeof query !== 'string') throw invalid('`query` is not a string.');
  if (!Array.isArray(params.documents)) throw invalid('`documents` is not a list.');
  if (top_n !== null && top_n !== undefined && !(Number.isInteger(top_n) && top_n > 0)) {
    throw invalid(`\`top_n\` is ${String(top_n)}; it is a whole number from 1.`);
  }
  const documents = params.documents.map((document: string | { readonly text: string }) => {
    const text = typeof document === 'string' ? document : document?.text;
    if (typeof text !== 'string') throw invalid('A document is neither a string nor has a `text`.');
    return text;
  });
  const call = { query, documents, truncate };
  const { scores, tokens } = await client.call('rank', call, { signal, onTexts: onProgress });
  const results = scores
    .map((relevance_score, index) => ({
      index,
      relevance_score,
      ...(return_documents === true && { document: { text: documents[index] ?? '' } }),
    }))
    .sort((a, b) => b.relevance_score - a.relevance_score);
  return { object: 'list', results: results.slice(0, top_n ?? undefined), model, usage: usage(tokens) };
}

function textsOf(input: EmbeddingParams['input']): CoreText[] {
  const isTokens = (value: unknown): value is TokenIds =>
    value instanceof Uint32Array ||
    (Array.isArray(value) && value.length > 0 && value.every((id) => typeof id === 'number'));
  const one = (text: unknown): CoreText => {
    if (typeof text === 'string') return { text };
    if (isTokens(text)) return { tokens: Array.from(text) };
    throw invalid('`input` holds something that is neither a string nor a list of token ids.');
  };
  if (typeof input === 'string' || isTokens(input)) return [one(input)];
  if (!Array.isArray(input) || input.length === 0) {
    throw invalid('`input` is empty; it is a string, a list of strings, or token ids.');
  }
  return input.map(one);
}

function usage(tokens: number): TextUsage {
  return { prompt_tokens: tokens, total_tokens: tokens };
}

function base64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  vector.forEach((value, i) => bytes.setFloat32(i * 4, value, true));
  let text = '';
  for (const byte of new Uint8Array(bytes.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}
