/**
 * Classifies pages for the reference dumper: row by row as docs/CLASSIFICATION.md lists them, one
 * page at a time.
 *
 * This project refines row 12: a page of a memory-backed or deleted file belongs to the first
 * mapping that covers and shows it. A private mapping does not show the page where it has something
 * else there (an anonymous page of its own, the zero page); no mapping shows a page behind a guard
 * marker. Mappings are visited in order of address, so the first one that shows a page takes it. If
 * the machine may run during the dump, the first shared mapping takes the page, and every private
 * mapping stores as its own the pages that no shared mapping shows.
 */
import type { AddressSpace, Machine } from 'mmdump';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import { findClones } from './reference-clones.ts';
import {
  cachedPage,
  frameBytes,
  isInMemory,
  isNone,
  isPresent,
  isPrivate,
  isSpecial,
  isWritable,
  markerOf,
  pageStruct,
  pgdOf,
  type ReferenceFile,
  type ReferenceVma,
  readVmas,
  swapFrameOf,
  type Translation,
  translate,
} from './reference-memory.ts';

/**
 * The class of one page of a mapping, and the row that decided it; row 0 means that its frame is
 * beyond the end of memory. `frame` is null when nothing can be copied. `ofCache` marks the file's
 * page, by row 12.
 */
export type Fate = { readonly row: number } & (
  | { readonly is: 'ABSENT' | 'GUARD' }
  | { readonly is: 'ZERO'; readonly ofCache: boolean }
  | { readonly is: 'COPY'; readonly frame: number; readonly ofCache: boolean }
  | { readonly is: 'CLONE'; readonly donor: number }
  | { readonly is: 'UNSUPPORTED'; readonly frame: number | null }
);

/** A page that is not absent. */
export interface PageFate {
  readonly vpn: number;
  readonly fate: Fate;
}

export interface ClassifiedVma {
  readonly vma: ReferenceVma;
  /** In ascending order. */
  readonly pages: readonly PageFate[];
  /** Rows that decided about pages of this mapping. */
  readonly rows: ReadonlySet<number>;
}

export interface ClassifyOptions {
  readonly zeroPages: 'detect' | 'copy';
  readonly hugetlb: 'fail' | 'skip' | 'copy';
  readonly freeze: boolean;
  readonly dontDump: boolean;
}

/** Thrown when the dump must be refused; carries the code that the dumper must give. */
export class ReferenceRefusal extends Error {
  readonly code: 'PAGE_UNSUPPORTED' | 'HUGETLB_REFUSED';
  readonly mm: number;
  readonly address: number;

  constructor(code: ReferenceRefusal['code'], mm: number, address: number) {
    super(`${code} at 0x${address.toString(16)} of mm ${mm}`);
    this.code = code;
    this.mm = mm;
    this.address = address;
  }
}

const VM_IO = 0x4000;
const VM_HUGETLB = 0x400000;
const VM_DONTDUMP = 0x4000000;

interface Walk {
  readonly machine: Machine;
  readonly pgd: number;
  readonly options: ClassifyOptions;
  /** 'file:index' of every page of a kept file that already has an owner. */
  readonly owned: Set<string>;
  /** The same for all pages that shared mappings show; undefined if the machine is frozen. */
  readonly shared: ReadonlySet<string> | undefined;
  /** Rows that led to other rows. */
  readonly rows: Set<number>;
}

/** Classifies every page of every address space, in the order given. */
export function classifyAll(
  machine: Machine,
  spaces: readonly AddressSpace[],
  options: ClassifyOptions,
): ClassifiedVma[][] {
  const owned = new Set<string>();
  const shared = options.freeze ? undefined : sharedFilePages(machine, spaces, options);
  const classified: ClassifiedVma[][] = [];
  for (const [mm, space] of spaces.entries()) {
    const alone = classifyMm(machine, space, mm, { owned, shared, options });
    const withClones = (vma: ClassifiedVma) => findClones(machine, vma, classified);
    classified.push(options.freeze ? alone.map(withClones) : alone);
  }
  return classified;
}

/** Returns every page of a kept file that some shared mapping shows. */
function sharedFilePages(
  machine: Machine,
  spaces: readonly AddressSpace[],
  { hugetlb, dontDump }: ClassifyOptions,
): Set<string> {
  const storesNothing =
    VM_IO | (hugetlb === 'copy' ? 0 : VM_HUGETLB) | (dontDump ? VM_DONTDUMP : 0);
  const shown = new Set<string>();
  for (const space of spaces) {
    const pgd = pgdOf(machine, space);
    for (const vma of readVmas(machine, space)) {
      if (!isKept(vma.file) || isPrivate(vma) || (vma.flags & storesNothing) !== 0) continue;
      for (let vpn = vma.start; vpn < vma.end; vpn++) {
        if (isMarked(translate(machine, pgd, vpn))) continue;
        shown.add(`${vma.file.id}:${fileIndex(vma, vpn)}`);
      }
    }
  }
  return shown;
}

function classifyMm(
  machine: Machine,
  space: AddressSpace,
  mm: number,
  together: Pick<Walk, 'owned' | 'shared' | 'options'>,
): ClassifiedVma[] {
  const { options } = together;
  const vmas = readVmas(machine, space);
  for (const { start, flags } of vmas) {
    const isLeftOut = (flags & VM_IO) !== 0 || (options.dontDump && (flags & VM_DONTDUMP) !== 0);
    const isRefused = !isLeftOut && (flags & VM_HUGETLB) !== 0; // an omitted mapping is not refused
    if (isRefused && options.hugetlb === 'fail') {
      throw new ReferenceRefusal('HUGETLB_REFUSED', mm, start * 4096); // row 2
    }
  }
  const walk = {
    machine,
    pgd: pgdOf(machine, space),
    ...together,
    rows: new Set<number>(),
  };
  return vmas.map((vma) => classifyVma(walk, vma));
}

function classifyVma(walk: Walk, vma: ReferenceVma): ClassifiedVma {
  if ((vma.flags & VM_IO) !== 0) return { vma, pages: [], rows: new Set([1]) };
  if (walk.options.dontDump && (vma.flags & VM_DONTDUMP) !== 0) {
    return { vma, pages: [], rows: new Set([2]) };
  }
  if ((vma.flags & VM_HUGETLB) !== 0 && walk.options.hugetlb === 'skip') {
    return { vma, pages: [], rows: new Set([2]) };
  }
  const pages: PageFate[] = [];
  const { rows } = walk;
  rows.clear();
  for (let vpn = vma.start; vpn < vma.end; ) {
    const translation = translate(walk.machine, walk.pgd, vpn);
    if (translation.found === 'no table' && !isKept(vma.file)) {
      vpn = translation.next; // row 3: no table; this skips up to a terabyte at once
      continue;
    }
    const fate = classifyPage(walk, vma, vpn, translation);
    rows.add(fate.row);
    if (fate.is !== 'ABSENT') pages.push({ vpn, fate });
    vpn++;
  }
  return { vma, pages, rows: new Set(rows) };
}

/** Row 12's "memory-backed or deleted": only the dump can supply the file's pages. */
function isKept(file: ReferenceFile | null): file is ReferenceFile {
  return file !== null && (file.isMemoryBacked || file.isDeleted);
}

function classifyPage(walk: Walk, vma: ReferenceVma, vpn: number, translation: Translation): Fate {
  const isOwner = takeOwnership(walk, vma, vpn, translation);
  const fate = fateOf(walk, vma, vpn, translation, isOwner);
  if (!isKept(vma.file) || isPrivate(vma) || showsFilePage(walk.machine, vma.file, translation)) {
    return fate;
  }
  // A shared mapping can store only the page of its file. Other content is row 10.
  if (fate.is === 'ABSENT' || fate.is === 'GUARD') return fate;
  const row = fate.is === 'UNSUPPORTED' ? fate.row : 10;
  return { row, is: 'UNSUPPORTED', frame: null };
}

/** Applies rows 3 to 17, and 19. */
function fateOf(
  walk: Walk,
  vma: ReferenceVma,
  vpn: number,
  translation: Translation,
  isOwner: boolean,
): Fate {
  const { machine } = walk;
  // Row 3: a table above is bad or absent. An absent table is treated like an absent entry.
  if (translation.found === 'bad table') return { row: 3, is: 'UNSUPPORTED', frame: null };
  if (translation.found === 'no table' || isNone(translation.entry)) {
    return isKept(vma.file) ? filePage(walk, vma, vpn, isOwner) : { row: 5, is: 'ABSENT' };
  }
  // `translate` handles row 4: it reports a 2 MiB leaf page by page.
  const { entry, pfn: frame } = translation;
  if (!isPresent(entry)) {
    if (markerOf(entry) !== null) return { row: 7, is: 'GUARD' }; // and so is poison
    const swapped = swapFrameOf(machine, entry);
    if (swapped === null) return { row: 6, is: 'UNSUPPORTED', frame: null };
    walk.rows.add(6);
    return zeroOrCopy(walk, swapped, false);
  }
  if (!isInMemory(machine, frame)) return { row: 0, is: 'UNSUPPORTED', frame: null };
  if (isSpecial(entry)) return { row: 8, is: 'COPY', frame, ofCache: false }; // no zero test
  const { flags, mapping } = pageStruct(machine, frame);
  if (mapping !== 0 && (flags & PG.ANON) === 0) {
    if (vma.file === null) return { row: 9, is: 'UNSUPPORTED', frame };
    if (vma.file.id !== mapping) return { row: 10, is: 'UNSUPPORTED', frame };
    if (!isKept(vma.file)) return { row: 11, is: 'ABSENT' };
    return filePage(walk, vma, vpn, isOwner);
  }
  if ((flags & PG.RESERVED) !== 0) {
    if ((flags & PG.ZERO) === 0) return { row: 15, is: 'UNSUPPORTED', frame };
    if (isWritable(entry)) return { row: 13, is: 'UNSUPPORTED', frame };
    if (walk.options.zeroPages === 'detect') return { row: 14, is: 'ZERO', ofCache: false };
    return { row: 14, is: 'COPY', frame, ofCache: false };
  }
  if (mapping === 0) {
    if (vma.isVdso) return { row: 16, is: 'COPY', frame, ofCache: false }; // no zero test
    return { row: 16, is: 'UNSUPPORTED', frame };
  }
  return zeroOrCopy(walk, frame, false); // row 18 follows once the whole mm is classified
}

/**
 * Row 12: whether this mapping owns its page of a kept file. It does if it covers and shows the
 * page and no earlier mapping owns it. A shared mapping shows every page that is not behind a
 * marker.
 */
function takeOwnership(
  walk: Walk,
  vma: ReferenceVma,
  vpn: number,
  translation: Translation,
): boolean {
  if (!isKept(vma.file)) return false;
  const shows = isPrivate(vma)
    ? showsFilePage(walk.machine, vma.file, translation)
    : !isMarked(translation);
  const page = `${vma.file.id}:${fileIndex(vma, vpn)}`;
  if (walk.shared !== undefined && isPrivate(vma)) return shows && !walk.shared.has(page);
  if (!shows || walk.owned.has(page)) return false;
  walk.owned.add(page);
  return true;
}

function isMarked(translation: Translation): boolean {
  if (translation.found !== 'entry') return false;
  const { entry } = translation;
  return !isNone(entry) && !isPresent(entry) && markerOf(entry) !== null;
}

/** Whether the entry maps the file's page, or is empty so that a fault would map it. */
function showsFilePage(machine: Machine, file: ReferenceFile, translation: Translation): boolean {
  if (translation.found === 'no table') return true;
  if (translation.found === 'bad table') return false;
  const { entry, pfn } = translation;
  if (isNone(entry)) return true;
  if (!isPresent(entry) || !isInMemory(machine, pfn) || isSpecial(entry)) return false;
  const { flags, mapping } = pageStruct(machine, pfn);
  return mapping === file.id && (flags & PG.ANON) === 0;
}

function fileIndex(vma: ReferenceVma, vpn: number): number {
  return vma.pgoff + (vpn - vma.start);
}

/** Row 12: stores the page of the page cache if it exists and this mapping is its owner. */
function filePage(walk: Walk, vma: ReferenceVma, vpn: number, isOwner: boolean): Fate {
  const cached = cachedPage(walk.machine, vma.file!, fileIndex(vma, vpn));
  if (!isOwner || cached === 0) return { row: 12, is: 'ABSENT' };
  const isOwn = walk.shared !== undefined && isPrivate(vma);
  return zeroOrCopy(walk, cached, !isOwn);
}

const ZEROS = Buffer.alloc(4096);

/** Applies rows 17 and 19. */
function zeroOrCopy(walk: Walk, frame: number, ofCache: boolean): Fate {
  const isZero = frameBytes(walk.machine, frame).equals(ZEROS);
  if (isZero && walk.options.zeroPages === 'detect') return { row: 17, is: 'ZERO', ofCache };
  return { row: 19, is: 'COPY', frame, ofCache };
}
