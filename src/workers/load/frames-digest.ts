/**
 * The digest of a run's bytes, part by part, where they lie in frames. XXH3 is computed by the kernels
 * inside the frames' memory, which share one state, since the parts may lie in several banks.
 */
import { crc32 } from 'node:zlib';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { DIGEST, type DigestKind } from '../../shared/digest/digest-kind.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import type { WasmModule } from '../../shared/wasm.ts';

export class FramesDigest {
  /** The halves of the digest, once the last part was taken; a crc32 is the low one. */
  low = 0;
  high = 0;
  readonly #machine: MachineParts;
  readonly #module: WasmModule;
  readonly #state = new DigestState();
  readonly #byBank: DigestKernels[] = [];
  #kind: DigestKind = DIGEST.NONE;
  #isFirst = true;

  /** `module`: xxh3-inside. */
  constructor(machine: MachineParts, module: WasmModule) {
    this.#machine = machine;
    this.#module = module;
  }

  begin(kind: DigestKind): void {
    this.#kind = kind;
    this.#isFirst = true;
    this.low = 0;
    this.high = 0;
  }

  /** Takes whole pages, `bytes` from byte `at` of the bank of frame `pfn` on. */
  take(pfn: number, at: number, bytes: number, isLast: boolean): void {
    if (this.#kind === DIGEST.CRC32) {
      const frames = this.#machine.memory.bytesOf(pfn);
      this.low = crc32(frames.subarray(at, at + bytes), this.low);
      return;
    }
    const kernels = this.#kernels(pfn >>> BANK_SHIFT);
    if (this.#isFirst) kernels.begin();
    this.#isFirst = false;
    if (!isLast) {
      kernels.update(at | 0, bytes);
      return;
    }
    this.low = kernels.finish(at | 0, bytes);
    this.high = kernels.high();
  }

  /** Whether it is what was stored. */
  is(low: number, high: number): boolean {
    return this.low >>> 0 === low >>> 0 && this.high >>> 0 === high >>> 0;
  }

  #kernels(bank: number): DigestKernels {
    const known = this.#byBank[bank];
    if (known !== undefined) return known;
    const frames = this.#machine.memory.memories[bank]!;
    const kernels = digestKernels(this.#module, frames, frames, this.#state);
    this.#byBank[bank] = kernels;
    return kernels;
  }
}
