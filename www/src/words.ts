// Figures in words for the reader.

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
  gpu: 'GPU',
  webgpu: 'GPU',
};

/** `cpu-simd` and 4 → "CPU, SIMD, 4 threads". */
export function backendName(backend: string, threads = 1): string {
  const name = backends[backend] ?? backend;
  return threads > 1 ? `${name}, ${threads} threads` : name;
}
