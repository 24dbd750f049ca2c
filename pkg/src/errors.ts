/** Codes of errors that arise inside the engine (the wasm module); they come through unchanged. */
export type CoreErrorCode =
  | 'invalid_gguf'
  | 'truncated'
  | 'missing_metadata'
  | 'bad_metadata'
  | 'missing_tensor'
  | 'bad_tensor'
  | 'unsupported_architecture'
  | 'unsupported_type'
  | 'unsupported_tokenizer'
  | 'bad_tokenizer'
  | 'template'
  | 'template_raised'
  | 'context_full'
  | 'invalid_request'
  | 'out_of_memory'
  | 'cancelled'
  | 'source'
  | 'internal';

/**
 * Everything that can go wrong, as a stable string.
 *
 * - `network`: no answer from the server (offline, refused by CORS, connection lost for good).
 * - `http_status`: the server answered with an error; see `status` and `url`.
 * - `truncated`: the file or the download ends before it is complete.
 * - `invalid_gguf`: the bytes are not a GGUF model (a web page, for example).
 * - `unsupported_architecture`, `unsupported_type`, `unsupported_tokenizer`: a valid model that Inkling cannot run.
 * - `missing_metadata`, `bad_metadata`, `missing_tensor`, `bad_tensor`, `bad_tokenizer`: the model file is broken.
 * - `template`, `template_raised`: the chat template is broken, or refused this conversation.
 * - `context_full`: the prompt does not fit the context window.
 * - `invalid_request`: a parameter is out of range.
 * - `out_of_memory`: weights or cache do not fit into memory.
 * - `source`: a local file could not be read (moved or changed since it was picked, for example).
 * - `aborted`: the caller's AbortSignal fired.
 * - `disposed`: the engine was disposed.
 * - `busy`: the worker already serves another engine.
 * - `worker_failed`: the worker could not start, or crashed; load the model again.
 * - `unsupported_browser`: no WebAssembly SIMD or no module workers here.
 * - `internal`: a bug in Inkling.
 */
export type EngineErrorCode =
  | Exclude<CoreErrorCode, 'cancelled'>
  | 'network'
  | 'http_status'
  | 'aborted'
  | 'worker_failed'
  | 'disposed'
  | 'busy'
  | 'unsupported_browser';

/** Facts that come with some errors. */
export interface EngineErrorDetails {
  /** The error underneath, where there is one. */
  cause?: unknown;
  /** HTTP status, with code `http_status`. */
  status?: number | undefined;
  /** Address that failed, for errors of a download. */
  url?: string | undefined;
}

/** The only error type that this package throws; act on `code`, show `message`. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  /** What went wrong, as a stable string. */
  readonly code: EngineErrorCode;
  /** HTTP status, with code `http_status`. */
  readonly status: number | undefined;
  /** Address that failed, for errors of a download. */
  readonly url: string | undefined;

  constructor(code: EngineErrorCode, message: string, details: EngineErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.status = details.status;
    this.url = details.url;
  }
}
