/** Instances of kernels/frames.wat. All addresses are bytes of their memory. */
import { Instance, type WasmMemory, type WasmModule } from '../../shared/wasm.ts';

export interface FrameKernels {
  copyRun(to: number, from: number, bytes: number): void;
  copyFour(to: number, a: number, b: number, c: number, d: number): void;
  isZeroPage(at: number): number;
}

/** `module` "inside": `image` is the same memory. */
export function frameKernels(
  module: WasmModule,
  frames: WasmMemory,
  image: WasmMemory,
): FrameKernels {
  return new Instance(module, { mmdump: { frames, image } }).exports as FrameKernels;
}
