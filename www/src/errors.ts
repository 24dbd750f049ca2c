// The engine's error codes in words for the reader. Each says what happened and what can be done about it.
import type { EngineErrorCode } from 'inkling-llm';
import type { Trouble } from './types.ts';

type Words = readonly [title: string, advice: string];

const words: Record<EngineErrorCode, Words> = {
  network: [
    'The server could not be reached.',
    'Check the address and your connection. Some servers do not let other pages read their files; download the file yourself and open it from disk.',
  ],
  http_status: [
    'The server did not give out the file.',
    'Check the address. It has to lead to the file itself, not to the page about it.',
  ],
  truncated: [
    'The file is incomplete.',
    'The download ended before the whole model was there. Try again, or download the file anew.',
  ],
  invalid_gguf: [
    'This is not a GGUF model.',
    'Inkling reads files that end in .gguf. If it came from an address, make sure that it leads to the file itself and not to a web page.',
  ],
  wrong_parts: [
    'Parts of this model are missing, or do not belong together.',
    'It is split into several files. Choose all of them at once; the details say how many there are.',
  ],
  unsupported_architecture: [
    'Inkling cannot run this kind of model yet.',
    'It runs the common families of text models: Llama, Qwen, Gemma, Phi, SmolLM and their kin. The details list all.',
  ],
  unsupported_type: [
    'Inkling cannot read the way these weights are stored.',
    'Choose another variant of the model, Q4_K_M or Q8_0 for example.',
  ],
  unsupported_tokenizer: [
    'Inkling does not know this model’s tokenizer yet.',
    'Guessing would give you nonsense, so the model was not opened. Choose another one.',
  ],
  missing_metadata: [
    'The model file is incomplete.',
    'Something that the model needs is missing from it. Try another file.',
  ],
  bad_metadata: [
    'The model file is damaged.',
    'Something in its description makes no sense. Try another file.',
  ],
  missing_tensor: [
    'The model file is incomplete.',
    'A part of the weights is missing. If the model comes in several files, choose all of them together.',
  ],
  bad_tensor: ['The model file is damaged.', 'A part of the weights does not fit. Try another file.'],
  bad_tokenizer: ['The model file is damaged.', 'Its tokenizer makes no sense. Try another file.'],
  template: [
    'The model’s chat template could not be used.',
    'The model file is at fault. Try another variant of the model.',
  ],
  template_raised: [
    'The model refused the form of this conversation.',
    'Some models take no system prompt, or need questions and answers to alternate. Clear the system prompt in the settings, or begin a new chat.',
  ],
  context_full: [
    'This message is longer than the model’s context.',
    'Shorten it, shorten the system prompt, or open a model with a longer context.',
  ],
  invalid_request: ['A setting is out of range.', 'Reset the settings and try again.'],
  out_of_memory: [
    'There is not enough memory for this model.',
    'Choose a smaller one or a stronger quantization, set a shorter context in the settings, or close other tabs. If the GPU was chosen in the settings, its memory is what is short: “CPU” uses the computer’s own.',
  ],
  gpu_unavailable: [
    'This browser offers no GPU.',
    'It needs WebGPU: current versions of Chrome, Edge, Safari and Firefox have it on most computers. Choose “Automatic” in the settings, and the CPU runs the model.',
  ],
  gpu: [
    'The GPU cannot run this model.',
    'Choose “Automatic” or “CPU” in the settings, and the CPU runs it.',
  ],
  gpu_lost: [
    'The GPU was taken away.',
    'The computer slept, or the graphics driver started anew. Open the model again.',
  ],
  source: ['The file could not be read.', 'It may have been moved or changed. Choose it again.'],
  aborted: ['Stopped.', 'Nothing was changed.'],
  disposed: ['The model was closed.', 'Open a model and try again.'],
  busy: ['The model is busy.', 'Wait for the other answer to end, then try again.'],
  worker_failed: ['The model stopped unexpectedly.', 'Reload the page. Your conversations are kept.'],
  unsupported_browser: [
    'This browser is too old for Inkling.',
    'It needs WebAssembly with SIMD. Any browser from the last few years has it.',
  ],
  internal: ['Something went wrong inside Inkling.', 'Try again. If it happens once more, please report it.'],
};

function has<K extends string>(error: unknown, key: K): error is Record<K, unknown> {
  return typeof error === 'object' && error !== null && key in error;
}

/** Code of an error, `internal` for anything that did not come from the engine. */
export function codeOf(error: unknown): EngineErrorCode {
  const code = has(error, 'code') ? String(error.code) : '';
  return code in words ? (code as EngineErrorCode) : 'internal';
}

/** An error in words for the reader. */
export function describe(error: unknown): Trouble {
  const code = codeOf(error);
  let [title, advice] = words[code];
  const status = has(error, 'status') ? Number(error.status) : 0;
  if (code === 'http_status' && status === 404) title = 'There is no file at this address (404).';
  else if (code === 'http_status' && (status === 401 || status === 403)) {
    title = `The server refused to give out the file (${status}).`;
    advice =
      'It may need an account or an accepted licence. Download the file yourself and open it from disk.';
  } else if (code === 'http_status' && (status === 429 || status >= 500)) {
    title = `The server is too busy, or in trouble (${status}).`;
    advice = 'Wait a little, then try again.';
  } else if (code === 'http_status' && status > 0) title = `The server answered with an error (${status}).`;
  const detail = error instanceof Error ? error.message : String(error);
  return { code, title, advice, ...(detail && { detail }) };
}
