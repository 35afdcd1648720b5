/**
 * Reading an image at random: its mms, mappings and pages. Only the records are kept in memory,
 * never the pages; their cost follows the number of records in the file, up to a limit.
 */
import { crc32 } from 'node:zlib';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { VM } from '../../shared/vm-flags.ts';
import { StreamChecker } from '../formats/cpt/checker.ts';
import type { ImageHead } from '../formats/cpt/head.ts';
import { readHead, type Visitor, walkObjects } from '../formats/cpt/walk.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { BLOCK, type Block } from './block-index.ts';
import type { ByteSource } from './byte-source.ts';
import { FilePages } from './file-pages.ts';
import { IdHash } from './id-hash.ts';
import { findVma, type ImageMm, type ImageVma, type Payload } from './image-mm.ts';
import { IndexBudget } from './index-budget.ts';
import { openSource } from './open-source.ts';
import { ImageProblem, problemError } from './problem.ts';

/** What an image says of one page. */
export interface PageInfo {
  /**
   * 'copy': its bytes are in the image · 'zero': zeros · 'clone': an earlier mm has its bytes ·
   * 'guard': a guard page · 'absent': mapped, not stored · 'unmapped': no mapping there.
   */
  readonly kind: 'copy' | 'zero' | 'clone' | 'guard' | 'absent' | 'unmapped';
  readonly vma: ImageVma | null;
  /** Byte of the image at which its bytes lie, null where it has none of its own. */
  readonly offset: number | null;
}

export interface OpenOptions {
  /** Ends the reading of the records. */
  readonly signal?: AbortSignal | undefined;
  /**
   * What the records may take in memory, in bytes, counted generously; the pages take none.
   * IMAGE_TOO_LARGE beyond it. Default 1 GiB.
   */
  readonly maxIndexBytes?: number | undefined;
}

export interface MmChoice {
  /** Ordinal of the mm. Default 0. */
  readonly mm?: number;
}

const KINDS = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.ZERO]: 'zero',
  [BLOCK.CLONE]: 'clone',
  [BLOCK.GUARD]: 'guard',
} as const;

export class Image {
  readonly format = 'cpt';
  /** Names the image: first 16 bytes of sha256 over its record crcs, in hex. */
  readonly id: string;
  readonly head: ImageHead;
  /** For the restore and the verification. */
  readonly source: ByteSource;
  readonly #mms: readonly ImageMm[];
  readonly #byOffset: ReadonlyMap<number, ImageMm>;
  readonly #filePages: FilePages;

  constructor(source: ByteSource, head: ImageHead, mms: readonly ImageMm[], id: string) {
    this.source = source;
    this.head = head;
    this.#mms = mms;
    this.#byOffset = new Map(mms.map((mm) => [mm.offset, mm]));
    this.#filePages = new FilePages(mms);
    this.id = id;
  }

  get path(): string | null {
    return this.source.path;
  }

  get bytes(): number {
    return this.source.bytes;
  }

  mms(): readonly ImageMm[] {
    return this.#mms;
  }

  /** The mm with this ordinal. OPTION_INVALID when there is none. */
  mm(ordinal = 0): ImageMm {
    const found = this.#mms[ordinal];
    if (found !== undefined) return found;
    const message = `mm ${ordinal}: ${this.source.name} holds ${this.#mms.length}, counted from 0`;
    throw new MmdumpError('OPTION_INVALID', message, { mm: ordinal });
  }

  /** The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    return this.#byOffset.get(offset);
  }

  /** The mappings of an mm, ascending. */
  vmas(choice: MmChoice = {}): readonly ImageVma[] {
    return this.mm(choice.mm).vmas;
  }

  /** What the image says of the page that holds `address`. */
  page(address: number, choice: MmChoice = {}): PageInfo {
    const mm = this.mm(choice.mm);
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) return { kind: 'unmapped', vma: null, offset: null };
    const vpn = vpnOf(address);
    const block = mm.blocks.find(vpn);
    if (block === undefined) return { kind: 'absent', vma, offset: null };
    const offset = block.kind === BLOCK.DATA ? pageOffset(block, vpn) : null;
    return { kind: KINDS[block.kind], vma, offset };
  }

  /**
   * Fills `into` with what the mm held from `address` on; pages that were never touched are zeros.
   * PAGE_ABSENT where the image does not know: a living file's page, a device, a guard page, an
   * absent page of a VM_HUGETLB mapping or of a VM_DONTDUMP one that was left out, no mapping.
   */
  async read(address: number, into: Uint8Array, choice: MmChoice = {}): Promise<void> {
    if (!Number.isSafeInteger(address) || address < 0 || address + into.length > TASK_SIZE) {
      throw new MmdumpError('OPTION_INVALID', `${address}: no address of user space`, { address });
    }
    const mm = this.mm(choice.mm);
    for (let done = 0; done < into.length; ) {
      const at = address + done;
      const count = Math.min(PAGE_SIZE - (at % PAGE_SIZE), into.length - done);
      await this.#readPart(mm, at, into.subarray(done, done + count));
      done += count;
    }
  }

  /** The LDT's entries, 8 bytes each; empty when there are none. */
  ldt(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload(this.mm(choice.mm).ldt);
  }

  /** The auxiliary vector; empty when the image has none. */
  auxv(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload(this.mm(choice.mm).auxv);
  }

  /** The ELF notes, zero-padded to 8 bytes; empty when the image has none. */
  notes(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload(this.mm(choice.mm).notes);
  }

  close(): Promise<void> {
    return this.source.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Reads within one page. */
  async #readPart(mm: ImageMm, address: number, into: Uint8Array): Promise<void> {
    const vpn = vpnOf(address);
    const block = mm.blocks.find(vpn);
    if (block === undefined) await this.#readAbsent(mm, address, into);
    else await this.#readBlock(mm, block, vpn, address, into);
  }

  async #readBlock(
    mm: ImageMm,
    block: Block,
    vpn: number,
    address: number,
    into: Uint8Array,
  ): Promise<void> {
    if (block.kind === BLOCK.DATA) {
      await this.source.read(into, pageOffset(block, vpn) + (address % PAGE_SIZE));
    } else if (block.kind === BLOCK.CLONE) {
      const donor = this.mmAt(block.source);
      if (donor !== undefined) await this.#readPart(donor, address, into);
    } else if (block.kind === BLOCK.ZERO) {
      into.fill(0);
    } else {
      throw this.#absent(mm, address, 'a guard page is there');
    }
  }

  /** A page that is not stored at this address: of a file, of a device, or never touched. */
  async #readAbsent(mm: ImageMm, address: number, into: Uint8Array): Promise<void> {
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) throw this.#absent(mm, address, 'no mapping is there');
    if ((vma.flags & (VM.IO | VM.PFNMAP)) !== 0) {
      throw this.#absent(mm, address, 'it is the memory of a device');
    }
    const isDontDump = this.head.dontDump && (vma.flags & VM.DONTDUMP) !== 0;
    const reason = 'pages of VM_DONTDUMP mappings were left out';
    // A private mapping may have had a copy of its own.
    if (isDontDump && (vma.flags & VM.MAYSHARE) === 0) throw this.#absent(mm, address, reason);
    const { file } = vma;
    const index = vma.pgoff + (vpnOf(address) - vpnOf(vma.start));
    const stored = file === null ? undefined : this.#filePages.find(file.id, index);
    if (stored !== undefined) {
      await this.#readBlock(mm, stored.block, stored.vpn, address, into);
    } else if (isDontDump) {
      throw this.#absent(mm, address, reason);
    } else if ((vma.flags & VM.HUGETLB) !== 0) {
      throw this.#absent(mm, address, 'pages of VM_HUGETLB mappings may have been left out');
    } else if (file === null) {
      into.fill(0);
    } else if (addressOf(index) >= file.size) {
      throw this.#absent(mm, address, `it is beyond the end of ${file.path}`);
    } else if (file.isMemoryBacked && !file.isIncomplete) {
      into.fill(0);
    } else {
      throw this.#absent(mm, address, `it is page ${index} of ${file.path}`);
    }
  }

  #absent(mm: ImageMm, address: number, reason: string): MmdumpError {
    const { name } = this.source;
    const message = `${name}: mm ${mm.ordinal} does not hold the page at ${hex(address)}: ${reason}`;
    return new MmdumpError('PAGE_ABSENT', message, { mm: mm.ordinal, address, reason });
  }

  async #payload(payload: Payload | null): Promise<Uint8Array> {
    if (payload === null) return new Uint8Array();
    const bytes = new Uint8Array(payload.bytes);
    await this.source.read(bytes, payload.offset);
    if (crc32(bytes) === payload.crc) return bytes;
    const problem = { code: 'IMAGE_CHECKSUM', offset: payload.offset, address: null } as const;
    const message = `payload at byte ${payload.offset}: its checksum does not match`;
    throw problemError(this.source.name, { ...problem, message });
  }
}

/**
 * Opens a file, the parts of an image (`OUT`, or `OUT.000`), or that of a memory sink. Checks every record, not the pages. INPUT_FAILED,
 * IMAGE_* where the image is damaged, IMAGE_TOO_LARGE beyond `maxIndexBytes`.
 */
export async function openImage(
  from: string | MemoryImage,
  options: OpenOptions = {},
): Promise<Image> {
  throwIfAborted(options.signal);
  const source = await openSource(from);
  try {
    return await indexImage(source, options);
  } catch (error) {
    await source.close().catch(() => {}); // the error says what matters
    throw error instanceof ImageProblem ? problemError(source.name, error.problem) : error;
  }
}

async function indexImage(source: ByteSource, options: OpenOptions): Promise<Image> {
  if (source.problem) throw problemError(source.name, source.problem);
  const budget = new IndexBudget(source.name, options.maxIndexBytes);
  const head = await readHead(source);
  const fatal = (problem: ImageProblem): never => {
    throw problem;
  };
  const checker = new StreamChecker(head, budget, fatal);
  const id = new IdHash(head.recordCrc);
  const visitor: Visitor = {
    object: (object, payload) => {
      id.add(object.recordCrc);
      checker.add(object, payload);
    },
    problem: fatal,
  };
  await walkObjects(source, head, visitor, options.signal);
  checker.finish(head.totalLen);
  return new Image(source, head, checker.mms, id.digest());
}

function pageOffset(block: Block, vpn: number): number {
  return block.source + addressOf(vpn - block.start);
}
