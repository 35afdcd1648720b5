/**
 * Computes the digest of a run's bytes, part by part, where they lie in frames. XXH3 is computed by
 * kernels inside the memory of each bank. They share one state, because the parts of a run may lie
 * in several banks.
 */
import { crc32 } from 'node:zlib';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { DIGEST, type Digest, type DigestKind } from '../../shared/digest/digest-kind.ts';
import { PageListDigest } from '../../shared/digest/page-list-digest.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import { KiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, type WasmModule } from '../../shared/wasm.ts';

/** Bytes of the scratch memory, whole wasm pages. */
const SCRATCH = 128 * KiB;

/** Digests one run after the other. */
export class FramesDigest implements Digest {
  /** The low and the high half of the digest, after the last part. A crc32 is the low half. */
  low = 0;
  high = 0;
  digest: DigestKind = DIGEST.NONE;
  readonly #list: PageListDigest;
  #isOfPages = false;
  readonly #machine: MachineParts;
  readonly #module: WasmModule;
  readonly #state = new DigestState();
  readonly #byBank: DigestKernels[] = [];
  /** For banks that no kernel reaches: memory into which the bytes are copied, and its kernels. */
  #scratch?: { readonly bytes: Uint8Array; readonly kernels: DigestKernels };
  #isFirst = true;

  /** `module` is xxh3-inside. */
  constructor(machine: MachineParts, module: WasmModule) {
    this.#machine = machine;
    this.#module = module;
    this.#list = new PageListDigest(() => module);
  }

  /**
   * Begins the digest of a run. With `isOfPages` it is that of the digests of the pages: see
   * PageListDigest.
   */
  begin(kind: DigestKind, isOfPages = false): void {
    this.digest = kind;
    this.#isOfPages = isOfPages;
    if (isOfPages) this.#list.begin();
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
    const bank = pfn >>> BANK_SHIFT;
    const kernels = this.#kernels(bank);
    if (kernels === undefined) {
      const frames = this.#machine.memory.bytesOf(pfn);
      for (let done = 0; done < bytes; done += SCRATCH) {
        const count = Math.min(SCRATCH, bytes - done);
        const scratch = this.#copied(frames.subarray(at + done, at + done + count));
        this.#digest(scratch, 0, count, isLast && done + count === bytes);
      }
      return;
    }
    this.#digest(kernels, at + this.#machine.memory.offsets[bank]!, bytes, isLast);
  }

  /** Digests `bytes` bytes from byte `at` of the memory of the kernels on. */
  #digest(kernels: DigestKernels, at: number, bytes: number, isLast: boolean): void {
    if (this.#isOfPages) {
      this.#digestPages(kernels, at, bytes, isLast);
      return;
    }
    if (this.#isFirst) kernels.begin();
    this.#isFirst = false;
    if (!isLast) {
      kernels.update(at | 0, bytes);
      return;
    }
    this.low = kernels.finish(at | 0, bytes);
    this.high = kernels.high();
  }

  /** Adds the digest of every page in these bytes to the list. */
  #digestPages(kernels: DigestKernels, at: number, bytes: number, isLast: boolean): void {
    const list = this.#list;
    for (let done = 0; done < bytes; done += PAGE_SIZE) {
      const low = kernels.digest((at + done) | 0, PAGE_SIZE);
      list.add(low, kernels.high());
    }
    if (!isLast) return;
    list.finish();
    this.low = list.low;
    this.high = list.high;
  }

  /** Copies bytes to the start of the scratch memory, and returns its kernels. */
  #copied(bytes: Uint8Array): DigestKernels {
    if (this.#scratch === undefined) {
      const pages = SCRATCH / WASM_PAGE;
      const memory = new Memory({ initial: pages, maximum: pages, shared: true });
      const kernels = digestKernels(this.#module, memory, memory, this.#state);
      this.#scratch = { bytes: new Uint8Array(memory.buffer), kernels };
    }
    this.#scratch.bytes.set(bytes);
    return this.#scratch.kernels;
  }

  #kernels(bank: number): DigestKernels | undefined {
    const known = this.#byBank[bank];
    if (known !== undefined) return known;
    const frames = this.#machine.memory.memories[bank];
    if (frames === undefined) return undefined;
    const kernels = digestKernels(this.#module, frames, frames, this.#state);
    this.#byBank[bank] = kernels;
    return kernels;
  }
}
