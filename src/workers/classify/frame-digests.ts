/**
 * XXH3-64 of single frames, where they lie. A bank that no kernel reaches, which is memory of the
 * caller, is copied into the cache first.
 */
import type { PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import { BANK_MASK, BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { BytesDigest } from '../../shared/digest/bytes-digest.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WasmModule } from '../../shared/wasm.ts';

/** Digests one frame after the other. Every worker has one object of its own. */
export class FrameDigests {
  /** The halves of the digest that the last `digest` computed, as signed words. */
  low = 0;
  high = 0;
  readonly #memory: PhysicalMemory;
  readonly #module: WasmModule;
  /** For each bank its kernels, or null if none reaches it. */
  readonly #kernels: (DigestKernels | null)[] = [];
  #copied: BytesDigest | undefined;

  /** `module` is the module xxh3-inside. */
  constructor(memory: PhysicalMemory, module: WasmModule) {
    this.#memory = memory;
    this.#module = module;
  }

  /** Computes the digest of a frame. */
  digest(pfn: number): void {
    const bank = pfn >>> BANK_SHIFT;
    const kernels = this.#kernels[bank] ?? this.#newKernels(bank);
    if (kernels === null) {
      this.#digestCopy(pfn);
      return;
    }
    const at = ((pfn & BANK_MASK) * PAGE_SIZE + this.#memory.offsets[bank]!) | 0;
    this.low = kernels.digest(at, PAGE_SIZE) | 0;
    this.high = kernels.high() | 0;
  }

  #digestCopy(pfn: number): void {
    this.#copied ??= new BytesDigest(this.#module);
    const at = this.#memory.byteAt(pfn);
    this.#copied.begin();
    this.#copied.update(this.#memory.bytesOf(pfn).subarray(at, at + PAGE_SIZE));
    this.#copied.finish();
    this.low = this.#copied.low | 0;
    this.high = this.#copied.high | 0;
  }

  #newKernels(bank: number): DigestKernels | null {
    const memory = this.#memory.memories[bank];
    const found =
      memory === undefined ? null : digestKernels(this.#module, memory, memory, new DigestState());
    this.#kernels[bank] = found;
    return found;
  }
}
