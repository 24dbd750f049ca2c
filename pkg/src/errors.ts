const CORE_CODES = [
  'invalid_gguf',
  'wrong_parts',
  'truncated',
  'missing_metadata',
  'bad_metadata',
  'missing_tensor',
  'bad_tensor',
  'unsupported_architecture',
  'unsupported_type',
  'unsupported_tokenizer',
  'bad_tokenizer',
  'template',
  'template_raised',
  'context_full',
  'invalid_request',
  'out_of_memory',
  'gpu_unavailable',
  'gpu',
  'gpu_lost',
  'cancelled',
  'source',
  'internal',
] as const;

/** Codes of errors that arise inside the engine (the wasm module); they come through unchanged. */
export type CoreErrorCode = (typeof CORE_CODES)[number];

/**
 * Everything that can go wrong, as a stable string.
 *
 * - `network`: no answer from the server (offline, refused by CORS, connection lost for good).
 * - `http_status`: the server answered with an error; see `status` and `url`.
 * - `truncated`: the file or the download ends before it is complete.
 * - `invalid_gguf`: the bytes are not a GGUF model (a web page, for example).
 * - `wrong_parts`: the files are not all the parts of one split model.
 * - `unsupported_architecture`, `unsupported_type`, `unsupported_tokenizer`: a valid model that Inkling cannot run.
 * - `missing_metadata`, `bad_metadata`, `missing_tensor`, `bad_tensor`, `bad_tokenizer`: the model file is broken.
 * - `template`, `template_raised`: the chat template is broken, or refused this conversation.
 * - `context_full`: the prompt does not fit the context window, or a text to embed is longer than the model reads.
 * - `invalid_request`: a parameter is out of range.
 * - `out_of_memory`: weights or cache do not fit into memory, the GPU's or the page's.
 * - `gpu_unavailable`: `backend: 'gpu'`, but there is no WebGPU here or no adapter.
 * - `gpu`: the GPU cannot run this model, or failed.
 * - `gpu_lost`: the browser took the GPU away (driver restarted, computer slept) and it did not come back.
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

/** An error as it travels between worker and page, where classes are lost. */
export interface WireError {
  code: EngineErrorCode;
  message: string;
  status?: number | undefined;
  url?: string | undefined;
  cause?: string | undefined;
}

/** Packs whatever was thrown for the way to the page. */
export function toWireError(thrown: unknown): WireError {
  const error = toEngineError(thrown);
  const { code, message, status, url } = error;
  const cause = error.cause === undefined ? undefined : messageOf(error.cause);
  return { code, message, status, url, cause };
}

/** Unpacks what `toWireError` packed. */
export function fromWireError(wire: WireError): EngineError {
  const { code, message, status, url } = wire;
  const details: EngineErrorDetails = { status, url };
  if (wire.cause !== undefined) details.cause = new Error(wire.cause);
  return new EngineError(code, message, details);
}

/** Gives every thrown thing a code: the wasm module's own, or what fits best. */
export function toEngineError(thrown: unknown): EngineError {
  if (thrown instanceof EngineError) return thrown;
  if (isTrap(thrown)) {
    return new EngineError('worker_failed', 'The engine crashed; load the model again.', { cause: thrown });
  }
  // A buffer that the browser has no room for: JavaScriptCore's words, V8's.
  if (thrown instanceof RangeError && /out of memory|allocation failed/i.test(thrown.message)) {
    return new EngineError('out_of_memory', 'The browser gives this page no more memory.', { cause: thrown });
  }
  const code = CORE_CODES.find((known) => known === codeOf(thrown)) ?? 'internal';
  if (code === 'cancelled') return abortError();
  const message = messageOf(thrown);
  if (code === 'invalid_request') return new EngineError(code, publicNames(message));
  return new EngineError(code, message, code === 'internal' ? { cause: thrown } : {});
}

/** The engine calls `topP` what callers write as OpenAI does. */
function publicNames(message: string): string {
  const own = /\b(top|min|repetition|frequency|presence|logit)([PKWB])/g;
  return message.replace(own, (_, first: string, second: string) => `${first}_${second.toLowerCase()}`);
}

/** The error of everything that the caller's signal stopped; `reason` is the signal's. */
export function abortError(reason?: unknown): EngineError {
  return new EngineError('aborted', 'Stopped by the caller.', reason === undefined ? {} : { cause: reason });
}

/** Whether the wasm instance stopped in the middle of something and must not be used again. */
export function isTrap(thrown: unknown): boolean {
  return typeof WebAssembly === 'object' && thrown instanceof WebAssembly.RuntimeError;
}

/** Text of anything that can be thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function codeOf(thrown: unknown): unknown {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
}
