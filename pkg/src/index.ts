export { Engine } from './engine.js';
export type { Chat, ChatCompletions } from './engine.js';
export { EngineError } from './errors.js';
export type { CoreErrorCode, EngineErrorCode, EngineErrorDetails } from './errors.js';
export type * from './openai-types.js';
export type { CompletionStream } from './stream.js';
export type * from './text-types.js';
export type { Embeddings } from './texts.js';
export type {
  Backend,
  DetokenizeOptions,
  DownloadOptions,
  GpuInfo,
  JsonValue,
  LoadOptions,
  LoadProgress,
  ModelInfo,
  ModelPart,
  ModelSource,
  PrefillProgress,
  TokenizeOptions,
  WorkerLike,
} from './types.js';
