/**
 * Computes the digest of a run's bytes, part by part, where they lie in frames. XXH3 is computed by
 * kernels inside the memory of each bank. They share one state, because the parts of a run may lie
 * in several banks.
 */
import { crc32 } from 'node:zlib';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { DIGEST, type Digest, type DigestKind } from '../../shared/digest/digest-kind.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import type { WasmModule } from '../../shared/wasm.ts';

/** Digests one run after the other. */
export class FramesDigest implements Digest {
  /** The low and the high half of the digest, after the last part. A crc32 is the low half. */
  low = 0;
  high = 0;
  digest: DigestKind = DIGEST.NONE;
  readonly #machine: MachineParts;
  readonly #module: WasmModule;
  readonly #state = new DigestState();
  readonly #byBank: DigestKernels[] = [];
  #isFirst = true;

  /** `module` is xxh3-inside. */
  constructor(machine: MachineParts, module: WasmModule) {
    this.#machine = machine;
    this.#module = module;
  }

  /** Begins the digest of a run. */
  begin(kind: DigestKind): void {
    this.digest = kind;
    this.#isFirst = true;
    this.low = 0;
    this.high = 0;
  }

  /**
   * Adds `bytes` bytes, which are whole pages, from byte `at` of the bank of frame `pfn` on.
   * `isLast`: the run ends with them.
   */
  take(pfn: number, at: number, bytes: number, isLast: boolean): void {
    if (this.digest === DIGEST.CRC32) {
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

  #kernels(bank: number): DigestKernels {
    const known = this.#byBank[bank];
    if (known !== undefined) return known;
    const frames = this.#machine.memory.memories[bank]!;
    const kernels = digestKernels(this.#module, frames, frames, this.#state);
    this.#byBank[bank] = kernels;
    return kernels;
  }
}
