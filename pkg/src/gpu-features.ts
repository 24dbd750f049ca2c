// What the engine wants of a WebGPU device and its library does not ask for: wgpu asks a browser only for the features
// that it has names for, and `subgroups` has none.

/** Features that the engine's kernels use where they are there. */
const WANTED = ['subgroups'];
/** What the engine calls its device; devices of others in this worker are left alone. */
const LABEL = 'inkling';

/** A device request, as far as it matters here. */
interface DeviceRequest {
  label?: string;
  requiredFeatures?: Iterable<string>;
}

/** The prototype of `GPUAdapter`, as far as it matters here. */
interface AdapterPrototype {
  readonly features: ReadonlySet<string>;
  readonly info?: object;
  requestDevice(request?: DeviceRequest): Promise<object>;
}

const wrapped = new WeakSet<AdapterPrototype>();

/** Makes the engine's device requests ask for more, from now on. Harmless without WebGPU, and when called twice. */
export function requestGpuFeatures(scope: object = globalThis): void {
  const prototype = (scope as { GPUAdapter?: { prototype: AdapterPrototype } }).GPUAdapter?.prototype;
  if (!prototype || wrapped.has(prototype)) return;
  const original = prototype.requestDevice;
  prototype.requestDevice = async function (request = {}) {
    if (request.label !== LABEL) return original.call(this, request);
    const features = WANTED.filter((name) => this.features.has(name));
    const requiredFeatures = [...new Set([...(request.requiredFeatures ?? []), ...features])];
    const device = await original.call(this, { ...request, requiredFeatures });
    // Older browsers tell of the adapter on the adapter only; the engine asks the device.
    if (!('adapterInfo' in device)) Object.defineProperty(device, 'adapterInfo', { value: this.info });
    return device;
  };
  wrapped.add(prototype);
}
