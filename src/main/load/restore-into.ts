/**
 * Restores an image into an address space that exists already: the guest of an emulator goes back
 * to an earlier state. Pages that show memory of the caller are written in place. All other pages
 * are replaced.
 */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { VmaInfo } from '../../mmu/vma/vma-info.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG, type LoadList } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BLOCK } from '../image/index/block-index.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { Yielder } from '../job/stop.ts';
import { addBlock } from './restored-pages.ts';

/** Pages of zeros in one run, so that several workers share a large mapping. */
const ZEROS_AT_ONCE = 16384;
/** The most runs of zeros that one mapping is cut into. */
const ZERO_RUNS_MAX = 4096;

/** Flags of mappings whose pages are not ordinary memory. */
const OTHER_MEMORY = VM.IO | VM.PFNMAP | VM.MIXEDMAP | VM.HUGETLB | VM.SHARED | VM.MAYSHARE;

/**
 * Returns the mm of the image that `space` can take. Throws OPTION_INVALID if the image has several
 * mms, maps files or devices, or has other mappings than `space`.
 */
export async function mmFor(image: ImageContents, space: AddressSpace): Promise<ImageMm> {
  const [mm, ...others] = image.mms;
  if (mm === undefined || others.length > 0) {
    throw refusal('into: mms of the image', image.mms.length, 'one mm');
  }
  const found = await space.vmasAsync();
  for (let index = 0; index < Math.max(found.length, mm.vmas.length); index++) {
    assertSame(found[index], mm.vmas[index]);
  }
  return mm;
}

function assertSame(found: VmaInfo | undefined, vma: ImageVma | undefined): void {
  if (vma !== undefined && (vma.file !== null || vma.isVdso || (vma.flags & OTHER_MEMORY) !== 0)) {
    const place = `${hex(vma.start)}-${hex(vma.end)}`;
    const message = `into: mapping ${place} of the image is not private anonymous memory`;
    throw new MmdumpError('OPTION_INVALID', message, { address: vma.start });
  }
  const isFile = found !== undefined && found.file !== null;
  if (!isFile && textOf(found) === textOf(vma)) return;
  const address = Math.min(found?.start ?? vma!.start, vma?.start ?? found!.start);
  const message = `into: its mapping is ${textOf(found)}, expected that of the image: ${textOf(vma)}`;
  throw new MmdumpError('OPTION_INVALID', message, { address });
}

function textOf(vma: VmaInfo | ImageVma | undefined): string {
  if (vma === undefined) return 'none';
  return `${hex(vma.start)}-${hex(vma.end)} with flags ${hex(vma.flags)}, page ${vma.pgoff}`;
}

/**
 * Lists what becomes of every page of the mappings. Pages that the image leaves out with their
 * mapping (`dontDump`) are not listed: they stay as they are. Throws AbortError through `yielder`.
 */
export async function listInto(
  list: LoadList,
  image: ImageContents,
  mm: ImageMm,
  yielder: Yielder,
): Promise<void> {
  for (const vma of mm.vmas) {
    if (image.head.dontDump && (vma.flags & VM.DONTDUMP) !== 0) continue;
    let next: number = vpnOf(vma.start);
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      if (yielder.isDue()) await yielder.yield();
      const block = mm.blocks.at(index);
      listZeros(list, LOAD.ANON_ZERO, next, block.start);
      next = block.start + block.pages;
      if (block.kind === BLOCK.ZERO) {
        listZeros(list, LOAD.ZERO_PAGE, block.start, next);
        continue;
      }
      const writable = (vma.flags & VM.WRITE) !== 0 ? LOAD_FLAG.WRITABLE : 0;
      const kind = block.kind === BLOCK.GUARD ? LOAD.GUARD : LOAD.ANON;
      const { pages, start, source, digest, low, high } = block;
      const flags = writable | LOAD_FLAG.INTO;
      const place = { pages, start, source, packed: block.packed, blockPages: pages };
      const run = { ...NOWHERE, ...place, kind, flags, digest, low, high };
      addBlock(list, image, mm, block, run);
    }
    listZeros(list, LOAD.ANON_ZERO, next, vpnOf(vma.end));
  }
}

const NOWHERE = { mm: 0, file: 0, index: 0 } as const;

/**
 * Lists pages [from, to) as pages of zeros, in parts. Outside of adopted memory a ZERO_PAGE is
 * mapped, and an ANON_ZERO is absent.
 */
function listZeros(list: LoadList, kind: number, from: number, to: number): void {
  const part = Math.max(ZEROS_AT_ONCE, Math.ceil((to - from) / ZERO_RUNS_MAX));
  for (let start = from; start < to; start += part) {
    const pages = Math.min(part, to - start);
    const run = { kind, flags: LOAD_FLAG.INTO, pages, start, source: 0 };
    list.add({ ...NOWHERE, ...run, ...NO_DIGEST });
  }
}
