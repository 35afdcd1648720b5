/** Instances of kernels/frames.wat. All addresses are byte offsets in a memory. */
import { Instance, type WasmMemory, type WasmModule } from '../../shared/wasm.ts';

/** The functions of an instance. */
export interface FrameKernels {
  /** Copies `bytes` bytes, which lie in one piece, from the frames to the image. */
  copyRun(to: number, from: number, bytes: number): void;
  /** Copies the four pages of the frames at `a`, `b`, `c` and `d` to `to`, one behind the other. */
  copyFour(to: number, a: number, b: number, c: number, d: number): void;
  /** 1 if all bytes of the page of the frames at `at` are zero, else 0. */
  isZeroPage(at: number): number;
}

/** What was instantiated, by the memory of the frames and that of the image. */
const known = new WeakMap<WasmMemory, WeakMap<WasmMemory, FrameKernels>>();

/**
 * The kernels of `module` for two memories, which are instantiated once. If it is the module
 * "inside", `image` must be the same memory.
 */
export function frameKernels(
  module: WasmModule,
  frames: WasmMemory,
  image: WasmMemory,
): FrameKernels {
  let byImage = known.get(frames);
  if (byImage === undefined) {
    byImage = new WeakMap();
    known.set(frames, byImage);
  }
  let kernels = byImage.get(image);
  if (kernels === undefined) {
    kernels = new Instance(module, { mmdump: { frames, image } }).exports as FrameKernels;
    byImage.set(image, kernels);
  }
  return kernels;
}
