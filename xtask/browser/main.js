// Does the job that xtask serves, through the npm package as published, and says its outcome to drive.mjs.

/** Hands a result to xtask. */
export async function post(name, result) {
  const response = await fetch(`/results/${encodeURIComponent(name)}`, {
    method: 'POST',
    body: JSON.stringify(result),
  });
  if (!response.ok) throw new Error(`${name} was not taken: ${await response.text()}`);
}

async function main() {
  const job = await (await fetch('/job.json')).json();
  const work = {
    conformance: './conformance.js',
    bench: './bench.js',
    'bench-gpu': './bench-gpu.js',
    'bench-peer': './bench-peer.js',
  }[job.kind];
  const { run } = await import(work);
  await run(job, post);
}

main().then(
  () => console.log('outcome: done'),
  (error) => console.log(`outcome: failed: ${error?.message}\n${error?.stack}`),
);
