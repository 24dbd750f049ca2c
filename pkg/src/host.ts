// The worker's side: turns Requests into calls of the wasm module. Knows neither Worker nor wasm files; tests run it
// over a MessageChannel with a fake module.
import { openSources } from './byte-source.js';
import type { ModelInspector } from './byte-source.js';
import { json } from './checks.js';
import { abortError, EngineError, isTrap, toWireError } from './errors.js';
import { runGeneration } from './generation-loop.js';
import type { Verdicts } from './gpu-verdicts.js';
import type { ByteSource, WasmEngine, WasmGeneration, WasmHeader } from './inkling.js';
import type {
  CallKind,
  CoreLoadOptions,
  Event,
  GenerationDone,
  Request,
  RequestOf,
  Results,
} from './protocol.js';
import { forgetParts } from './part-store.js';
import { TaskQueue } from './task-queue.js';
import { embedAll, rankAll } from './text-loop.js';
import type { TextLoop } from './text-loop.js';
import type { LoadProgress, ModelInfo } from './types.js';
import type { WasmModule, Wish } from './wasm.js';

/** The worker's global scope, or one end of a MessageChannel. */
export interface HostPort {
  postMessage(event: Event, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (message: { data: Request }) => void): void;
  addEventListener(type: 'unhandledrejection', listener: (event: PromiseRejectionEvent) => void): void;
  addEventListener(type: 'error', listener: (event: ErrorEvent) => void): void;
}

/** Brings up the wasm module; called once, at the first load. */
export type WasmLoader = (wish: Wish) => Promise<WasmModule>;

/** Answers the Requests that come in through `port`. */
export function serve(port: HostPort, loadWasm: WasmLoader, verdicts?: Verdicts): void {
  const host = new Host(port, loadWasm, verdicts);
  port.addEventListener('message', ({ data }) => void host.handle(data));
  // A trap in work that the module does between two calls reaches no caller: the call would wait for ever.
  const notice = (event: globalThis.Event, thrown: unknown): void => {
    if (!isTrap(thrown)) return;
    event.preventDefault();
    host.crash(thrown);
  };
  port.addEventListener('unhandledrejection', (event) => notice(event, event.reason));
  port.addEventListener('error', (event) => notice(event, event.error));
}

class Host {
  readonly #port: HostPort;
  readonly #loadWasm: WasmLoader;
  readonly #verdicts: Verdicts | undefined;
  readonly #running = new Map<number, AbortController>();
  /** One generation (or other long work) at a time. */
  readonly #queue = new TaskQueue();
  /** One call into the wasm module at a time; short calls slip in between the steps of a generation. */
  readonly #entry = new TaskQueue();
  #wasm: Promise<WasmModule> | undefined;
  #engine: WasmEngine | undefined;
  #loading = false;
  #memory: WebAssembly.Memory | undefined;
  #crashed: unknown;
  /** How often the engine had replaced what computes when the page was last told. */
  #replaced = 0;
  /** Whether the page thinks that a lost GPU is being replaced. */
  #recovering = false;
  /** Of the request that the engine works for. */
  #wanted: AbortSignal | undefined;

  constructor(port: HostPort, loadWasm: WasmLoader, verdicts: Verdicts | undefined) {
    this.#port = port;
    this.#loadWasm = loadWasm;
    this.#verdicts = verdicts;
  }

  async handle(request: Request): Promise<void> {
    if (request.kind === 'cancel') {
      this.#running.get(request.id)?.abort();
      return;
    }
    const { id } = request;
    if (this.#crashed !== undefined) return this.#refuse(id, this.#crashed);
    const controller = new AbortController();
    this.#running.set(id, controller);
    try {
      const value = await this.#answer(request, controller.signal);
      const transfer = value instanceof Uint32Array || value instanceof Float32Array ? [value.buffer] : [];
      this.#post({ kind: 'result', id, value }, transfer);
    } catch (error) {
      if (isTrap(error)) this.crash(error);
      else this.#refuse(id, error);
    } finally {
      this.#running.delete(id);
    }
  }

  /** The instance stopped in the middle of something: whatever waits for it ends, and it is not entered again. */
  crash(trap: unknown): void {
    if (this.#crashed !== undefined) return;
    this.#crashed = this.#starved() ? outOfMemory(trap, this.#loading) : trap;
    for (const id of this.#running.keys()) this.#refuse(id, this.#crashed);
  }

  /** Whether there is no memory left to speak of: the allocation that failed is not told. */
  #starved(): boolean {
    try {
      this.#memory?.grow(SPARE_PAGES);
      return false;
    } catch {
      return true;
    }
  }

  #refuse(id: number, error: unknown): void {
    this.#post({ kind: 'error', id, error: toWireError(error) });
  }

  #answer(request: RequestOf<CallKind>, signal: AbortSignal): Promise<Results[CallKind]> {
    switch (request.kind) {
      case 'load':
        return this.#load(request, signal);
      case 'chat':
        return this.#generate(request.id, signal, (engine) => engine.startChat(json(request.request)));
      case 'completion':
        return this.#generate(request.id, signal, (engine) => engine.startCompletion(json(request.request)));
      case 'tokenize':
        return this.#enter((engine) =>
          engine.tokenize(request.text, request.addSpecial, request.parseSpecial),
        );
      case 'detokenize':
        return this.#enter((engine) => engine.detokenize(request.tokens, request.skipSpecial));
      case 'logits':
        return this.#takeTurn(signal, () =>
          this.#enter((engine) => engine.logits(request.tokens, request.source)),
        );
      case 'embed':
        return this.#texts(request.id, signal, (loop) => embedAll(request, loop));
      case 'rank':
        return this.#texts(request.id, signal, (loop) => rankAll(request, loop));
      case 'renderTemplate':
        return this.#renderTemplate(request.template, request.context);
      case 'dispose':
        return this.#dispose(request.id);
    }
  }

  async #load(
    { id, sources, options, download, threads, wasmUrl }: RequestOf<'load'>,
    signal: AbortSignal,
  ): Promise<ModelInfo> {
    if (this.#engine || this.#loading) throw new EngineError('busy', 'This worker already serves an engine.');
    this.#loading = true;
    const report = throttled((progress) => this.#post({ kind: 'progress', id, progress }));
    let header: WasmHeader | undefined;
    let prepared: Promise<void> | undefined;
    try {
      // The download starts while the wasm module is still on its way.
      let tellSize: (bytes: number) => void = () => undefined;
      const fileBytes = new Promise<number>((resolve) => (tellSize = resolve));
      const wasm = this.#bringUp({ threads, wasmUrl, fileBytes });
      const inspect: ModelInspector = {
        async read(file, { bytes, fileSize }) {
          tellSize(fileSize * sources.length);
          const { WasmHeader } = await wasm;
          header ??= new WasmHeader(sources.length, JSON.stringify(options));
          return header.read(file, bytes, fileSize);
        },
        // What does not fit is told before the weights travel, and the GPU compiles meanwhile.
        finish: async () => (prepared = header?.prepare()),
      };
      const opening = openSources(sources, { download, inspect, signal, onProgress: report });
      // Whatever comes of it, nothing waits for the size any longer.
      opening.then(
        (all) => tellSize(sizeOf(all)),
        () => tellSize(0),
      );
      const [module, bytes] = await Promise.all([wasm, opening]);
      const onProgress = (json: string): boolean => {
        report(JSON.parse(json) as LoadProgress);
        return !signal.aborted;
      };
      const model = modelKey(bytes, options);
      const triesGpu = options.backend === 'auto' || options.backend === 'gpu';
      const gpuVerdict = triesGpu ? await this.#verdicts?.read(model) : undefined;
      const core = { ...options, ...(gpuVerdict !== undefined && { gpuVerdict }) };
      const known = header;
      header = undefined;
      const engine = await module.WasmEngine.load(bytes, JSON.stringify(core), onProgress, known);
      if (signal.aborted) engine.free();
      else this.#engine = engine;
      signal.throwIfAborted();
      const reportRecovery = throttled((progress) => this.#post({ kind: 'recovery', progress }));
      engine.onRecovery((json) => {
        this.#recovering = true;
        reportRecovery(JSON.parse(json) as LoadProgress);
        return this.#wanted?.aborted !== true;
      });
      const info = parseInfo(engine.info());
      // Only what computes on a GPU is read once more.
      if (!info.backend.startsWith('webgpu')) void forgetParts();
      // Nobody waits for it: it is for the next load.
      if (info.gpu?.verdict) void this.#verdicts?.write(model, info.gpu.adapter, info.gpu.verdict);
      return info;
    } catch (error) {
      void forgetParts();
      // With what the GPU has for it, as soon as it is not at work.
      const free = (): void => header?.free();
      if (!isTrap(error)) void Promise.allSettled([prepared]).then(free);
      throw signal.aborted && !isTrap(error) ? abortError() : error;
    } finally {
      this.#loading = false;
    }
  }

  /** The wasm module; a failed attempt is not remembered. */
  #bringUp(wish: Wish): Promise<WasmModule> {
    const remember = (module: WasmModule): WasmModule => {
      this.#memory = module.memory;
      return module;
    };
    this.#wasm ??= this.#loadWasm(wish).then(remember, (error: unknown) => {
      this.#wasm = undefined;
      throw error;
    });
    return this.#wasm;
  }

  async #generate(
    id: number,
    signal: AbortSignal,
    start: (engine: WasmEngine) => WasmGeneration,
  ): Promise<undefined> {
    const emit = (events: Extract<Event, { kind: 'generation' }>['events']): void =>
      this.#post({ kind: 'generation', id, events });
    let started = false;
    const generate = async (): Promise<void> => {
      started = true;
      const generation = await this.#enter(start);
      await runGeneration(generation, (step) => this.#enter(step), emit, signal);
    };
    try {
      await this.#takeTurn(signal, generate);
    } catch (error) {
      if (started || !signal.aborted) throw error;
      emit([CANCELLED_BEFORE_START]);
    }
    return undefined;
  }

  #texts<T>(id: number, signal: AbortSignal, answer: (loop: TextLoop) => Promise<T>): Promise<T> {
    const report = (done: number, total: number): void => this.#post({ kind: 'texts', id, done, total });
    return this.#takeTurn(signal, () => answer({ enter: (call) => this.#enter(call), report, signal }));
  }

  /** Long work, one request after the other. */
  #takeTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const turn = (): Promise<T> => {
      this.#wanted = signal;
      return work();
    };
    return this.#queue.run(turn, signal);
  }

  async #renderTemplate(template: string, context: string): Promise<string> {
    const wasm = await this.#wasm;
    if (!wasm) throw notLoaded();
    return this.#entry.run(() => wasm.renderTemplate(template, context));
  }

  async #dispose(id: number): Promise<undefined> {
    for (const [other, controller] of this.#running) if (other !== id) controller.abort();
    await this.#queue.run(() => {
      this.#engine?.free();
      this.#engine = undefined;
    });
    await forgetParts();
    return undefined;
  }

  /** Calls into the engine, one call at a time. */
  #enter<T>(call: (engine: WasmEngine) => T | Promise<T>): Promise<T> {
    return this.#entry.run(() => {
      if (this.#crashed !== undefined) throw this.#crashed;
      if (!this.#engine) throw notLoaded();
      return this.#telling(call(this.#engine));
    });
  }

  /** The same; what became of a GPU that was lost meanwhile is told first. */
  async #telling<T>(result: T | Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      if (isTrap(error)) this.crash(error);
      throw error;
    } finally {
      const engine = this.#crashed === undefined ? this.#engine : undefined;
      const replaced = engine?.replaced() ?? this.#replaced;
      if (engine && replaced !== this.#replaced) {
        this.#replaced = replaced;
        this.#post({ kind: 'info', info: parseInfo(engine.info()) });
      }
      if (this.#recovering) this.#post({ kind: 'recovery', progress: null });
      this.#recovering = false;
    }
  }

  #post(event: Event, transfer: Transferable[] = []): void {
    this.#port.postMessage(event, transfer);
  }
}

/** 64 MB. */
const SPARE_PAGES = 1024;

/** While a model is loaded, the model is at fault; later it may well be loaded once more. */
function outOfMemory(cause: unknown, loading: boolean): EngineError {
  const message = 'The memory is full. Load a smaller model, or this one with a shorter context.';
  return new EngineError(loading ? 'out_of_memory' : 'worker_failed', message, { cause });
}

/** How a generation ends that was cancelled while it waited for its turn. */
const CANCELLED_BEFORE_START: GenerationDone = {
  type: 'done',
  finishReason: 'cancelled',
  text: '',
  usage: { promptTokens: 0, completionTokens: 0, reusedTokens: 0 },
  droppedMessages: 0,
  timings: { ttftMs: 0, prefillTps: 0, decodeTps: 0, prefillMs: 0, decodeMs: 0 },
  contextUsed: 0,
};

function sizeOf(sources: readonly ByteSource[]): number {
  return sources.reduce((sum, source) => sum + source.size(), 0);
}

/** Tells models apart well enough to find what is known of them: which kernels they need follows from file and cache. */
function modelKey(sources: readonly ByteSource[], { kvType }: CoreLoadOptions): string {
  return [...sources.map((source) => source.size()), kvType ?? 'f16'].join(' ');
}

/** Facts that the file does not state are null in the JSON, and absent here. */
function parseInfo(json: string): ModelInfo {
  return JSON.parse(json, (_, value: unknown) => value ?? undefined) as ModelInfo;
}

function notLoaded(): EngineError {
  return new EngineError('invalid_request', 'No model is loaded.');
}

/** Lets through the first and the last report of each phase, and one every 50 ms between them. */
function throttled(report: (progress: LoadProgress) => void): (progress: LoadProgress) => void {
  let phase: string | undefined;
  let last = 0;
  return (progress) => {
    const now = performance.now();
    const complete = progress.total > 0 && progress.loaded >= progress.total;
    const between = progress.phase === phase && progress.loaded > 0 && !complete;
    if (between && now - last < 50) return;
    phase = progress.phase;
    last = now;
    report(progress);
  };
}
