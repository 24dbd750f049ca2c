// Figures in words for the reader.
import type { ModelInfo } from 'inkling-llm';

/** 10463616 → "10.5 MB". */
export const megabytes = (bytes: number): string => {
  const value = bytes / 1e6;
  return value >= 1000
    ? `${(value / 1000).toFixed(value >= 10_000 ? 0 : 1)} GB`
    : `${value < 100 ? value.toFixed(1) : Math.round(value)} MB`;
};

/** 9437184 → "9.4 million", 1235814432 → "1.2 billion". */
export function people(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} billion`;
  if (count >= 1e6) return `${count >= 1e8 ? Math.round(count / 1e6) : (count / 1e6).toFixed(1)} million`;
  return count.toLocaleString('en');
}

const backends: Readonly<Record<string, string>> = {
  'cpu-simd': 'CPU, SIMD',
  'cpu-relaxed-simd': 'CPU, relaxed SIMD',
  'cpu-scalar': 'CPU, scalar',
  cpu: 'CPU',
  'cpu-reference': 'CPU, exact reference',
  webgpu: 'WebGPU',
  'webgpu-subgroups': 'WebGPU',
};

type Runs = Pick<ModelInfo, 'backend' | 'threads' | 'gpu'>;

/** `cpu-simd` and 4 → "CPU, SIMD, 4 threads"; `webgpu` after its check → "WebGPU, checked". */
export function backendName({ backend, threads, gpu }: Runs): string {
  const name = backends[backend] ?? backend;
  if (onGpu(backend)) return gpu?.checked ? `${name}, checked` : name;
  return threads > 1 ? `${name}, ${threads} threads` : name;
}

const onGpu = (backend: string): boolean => backend.startsWith('webgpu');

/** More about what computes: which GPU and how it was checked, or why it is not used. */
export function backendStory({ backend, gpu }: Runs): string | undefined {
  if (!gpu) return undefined;
  if (!onGpu(backend)) {
    // The engine's sentence begins with what is said here already.
    const reason = gpu.reason?.replace(/^(no usable GPU|the GPU failed): /, '');
    return reason && `The GPU is not used: ${reason}${/[.!?]$/.test(reason) ? '' : '.'}`;
  }
  const spare = gpu.quarantined.length;
  return [
    gpu.adapter && `On ${gpu.adapter}.`,
    gpu.checked && 'Its results were compared with exact arithmetic.',
    spare > 0 && `${spare} of its kernels gave wrong results and ${spare === 1 ? 'is' : 'are'} not used.`,
  ]
    .filter(Boolean)
    .join(' ');
}
