// The engine that a job asks for.

/** Options of `Engine.load` that pick the build and the threads, as far as the job says. */
export const variantOf = ({ engine }) => ({
  threads: engine.threads ?? undefined,
  wasmUrl: engine.wasmUrl ?? undefined,
});
