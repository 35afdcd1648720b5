/**
 * The memory that each mm of an image has of its own and the memory that it shares: totals as in
 * /proc/PID/smaps, over the pages whose bytes the image holds.
 *
 * A page here is one that the image stores once. An mm shows a page if it stores the page, if it
 * has a clone of it, or if it maps a page of a file that the image stores and no private copy or
 * guard page of the mm hides it. A page that an mm shows twice counts once. Pages of zeros are
 * stored nowhere and count for no mm.
 */
import { PAGE_SIZE } from '../../shared/page.ts';
import { firstAfter } from '../../shared/ranges.ts';
import { BLOCK, type Block, type BlockIndex, hasContent } from './index/block-index.ts';
import { isOfFile } from './index/file-pages.ts';
import { findVma } from './index/image-mm.ts';

/** The memory of one mm, in bytes. */
export interface MemoryUsage {
  /** Bytes of the pages that the mm shows. */
  readonly rss: number;
  /**
   * Bytes of the pages that the mm shows, each page divided by the number of mms that show it;
   * rounded to whole bytes.
   */
  readonly pss: number;
  /** Bytes of the pages that no other mm of the image shows. */
  readonly unique: number;
}

/** The memory that the address spaces of one image have of their own, and what they share. */
export interface FamilyUsage {
  /** One entry per mm, in the order of the image. */
  readonly mms: readonly MemoryUsage[];
  /** Bytes of pages that the image would have in addition if every mm were stored by itself. */
  readonly savedBytes: number;
}

/** A mapping of an unreachable file. Any mm of the image may store the pages of the file. */
export interface UnreachableMapping {
  readonly start: number; // page
  readonly end: number;
  readonly pgoff: number;
  /** Number of the file, equal for all mappings of the file in all mms. */
  readonly file: number;
  /** VM_* flags. In a VM_MAYSHARE mapping every page is a page of the file. */
  readonly flags: number;
}

/** The pages of one mm. */
export interface UsageMm {
  readonly blocks: BlockIndex;
  /** Mappings of unreachable files, by ascending address. */
  readonly mappings: readonly UnreachableMapping[];
  /** Ordinal of the mm that the `source` of a CLONE block refers to, or -1. */
  readonly donorOf: (source: number) => number;
}

/** Adds up what the mms of one image show. */
export function familyUsage(mms: readonly UsageMm[]): FamilyUsage {
  const pages = new StoredPages(mms);
  pages.forEachShown((_mm, users, at) => {
    users[at]!++;
  });
  // Pages are counted by the number of their users. Fractions are summed last, so none is lost.
  const byUsers = mms.map(() => new Float64Array(mms.length + 1));
  pages.forEachShown((mm, users, at) => {
    byUsers[mm]![users[at]!]!++;
  });
  const usages = byUsers.map(toUsage);
  const shown = usages.reduce((sum, { rss }) => sum + rss, 0);
  return { mms: usages, savedBytes: shown - pages.usedPages() * PAGE_SIZE };
}

function toUsage(counts: Float64Array): MemoryUsage {
  let rss = 0;
  let pss = 0;
  counts.forEach((pages, users) => {
    rss += pages * PAGE_SIZE;
    if (users > 0) pss += (pages * PAGE_SIZE) / users;
  });
  return { rss, pss: Math.round(pss), unique: counts[1]! * PAGE_SIZE };
}

/** Called once for every mm and every page that it shows. `users[at]` is the count of that page. */
type Visit = (mm: number, users: Uint16Array, at: number) => void;

/** The pages of a file that one block stores. */
interface FileBlock {
  readonly owner: number;
  /** Pages [from, to) of the file. */
  readonly from: number;
  readonly to: number;
  /** Index of its first page among the stored pages of the owner. */
  readonly at: number;
}

/** The pages that an image stores. Each has an index among the pages that its owner stores. */
class StoredPages {
  readonly #mms: readonly UsageMm[];
  /** For each mm and block: index of the first page of the block among the pages of the mm. */
  readonly #places: Float64Array[] = [];
  /** For each mm and page that it stores: how many mms show the page. */
  readonly #users: Uint16Array[] = [];
  /** For each mm and page that it stores: the last mm that was seen to show it, counted from 1. */
  readonly #seen: Uint16Array[] = [];
  /** For each file: the blocks that store its pages, ascending and disjoint. */
  readonly #fileBlocks = new Map<number, FileBlock[]>();

  constructor(mms: readonly UsageMm[]) {
    this.#mms = mms;
    for (const [owner, { blocks, mappings }] of mms.entries()) {
      const places = new Float64Array(blocks.count);
      let pages = 0;
      for (let index = 0; index < blocks.count; index++) {
        const block = blocks.at(index);
        places[index] = pages;
        if (!hasContent(block)) continue;
        const mapping = fileMappingOf(mappings, block);
        if (mapping !== undefined) this.#addFileBlock(owner, mapping, block, pages);
        pages += block.pages;
      }
      this.#places.push(places);
      this.#users.push(new Uint16Array(pages));
      this.#seen.push(new Uint16Array(pages));
    }
    for (const blocks of this.#fileBlocks.values()) blocks.sort((a, b) => a.from - b.from);
  }

  #addFileBlock(
    owner: number,
    { file, start, pgoff }: UnreachableMapping,
    block: Block,
    at: number,
  ): void {
    const from = pgoff + (block.start - start);
    const added: FileBlock = { owner, from, to: from + block.pages, at };
    const known = this.#fileBlocks.get(file);
    if (known === undefined) this.#fileBlocks.set(file, [added]);
    else known.push(added);
  }

  /** Number of pages that at least one mm shows. */
  usedPages(): number {
    let used = 0;
    for (const users of this.#users) for (const count of users) if (count > 0) used++;
    return used;
  }

  forEachShown(visit: Visit): void {
    for (const seen of this.#seen) seen.fill(0);
    for (const [mm, { blocks, mappings }] of this.#mms.entries()) {
      for (let index = 0; index < blocks.count; index++) this.#visitBlock(mm, index, visit);
      for (const mapping of mappings) this.#visitMapping(mm, mapping, visit);
    }
  }

  #visitBlock(mm: number, index: number, visit: Visit): void {
    const { blocks, mappings, donorOf } = this.#mms[mm]!;
    const block = blocks.at(index);
    if (hasContent(block)) {
      if (fileMappingOf(mappings, block) !== undefined) return; // #visitMapping visits it
      this.#visitPages(mm, mm, this.#places[mm]![index]!, block.pages, visit);
    } else if (block.kind === BLOCK.CLONE) {
      this.#visitDonor(mm, donorOf(block.source), block, visit);
    }
  }

  #visitDonor(mm: number, donor: number, clone: Block, visit: Visit): void {
    const blocks = this.#mms[donor]?.blocks;
    if (blocks === undefined) return; // openImage accepts no such image
    const end = clone.start + clone.pages;
    for (let index = blocks.firstFrom(clone.start); index < blocks.count; index++) {
      const block = blocks.at(index);
      const { start, pages } = block;
      if (start >= end) break;
      if (!hasContent(block)) continue;
      const from = Math.max(start, clone.start);
      const count = Math.min(start + pages, end) - from;
      this.#visitPages(mm, donor, this.#places[donor]![index]! + (from - start), count, visit);
    }
  }

  /** Visits the stored pages of the file that the mapping covers. */
  #visitMapping(mm: number, mapping: UnreachableMapping, visit: Visit): void {
    const blocks = this.#fileBlocks.get(mapping.file) ?? [];
    const from = mapping.pgoff;
    const to = from + (mapping.end - mapping.start);
    for (let index = firstAfter(blocks, from); index < blocks.length; index++) {
      const block = blocks[index]!;
      if (block.from >= to) break;
      const first = Math.max(block.from, from);
      const end = Math.min(block.to, to);
      this.#visitUnhidden(mm, mapping, block, first, end, visit);
    }
  }

  /** Visits pages [from, to) of the file, except those that pages or guards of the mm hide. */
  #visitUnhidden(
    mm: number,
    mapping: UnreachableMapping,
    stored: FileBlock,
    from: number,
    to: number,
    visit: Visit,
  ): void {
    const { blocks } = this.#mms[mm]!;
    const shift = mapping.start - mapping.pgoff; // from an index to a page of the mm
    const show = (first: number, end: number): void => {
      const at = stored.at + (first - stored.from);
      if (end > first) this.#visitPages(mm, stored.owner, at, end - first, visit);
    };
    let next = from;
    for (let index = blocks.firstFrom(from + shift); index < blocks.count; index++) {
      const block = blocks.at(index);
      const start = block.start - shift;
      if (start >= to) break;
      if (isOfFile(mapping, block)) continue;
      show(next, Math.min(start, to));
      next = Math.max(next, start + block.pages);
    }
    show(next, to);
  }

  #visitPages(mm: number, owner: number, at: number, count: number, visit: Visit): void {
    const users = this.#users[owner]!;
    const seen = this.#seen[owner]!;
    for (let page = at; page < at + count; page++) {
      if (seen[page] === mm + 1) continue;
      seen[page] = mm + 1;
      visit(mm, users, page);
    }
  }
}

/** The mapping for which this block holds pages of an unreachable file, not pages of the mm. */
function fileMappingOf(
  mappings: readonly UnreachableMapping[],
  block: Block,
): UnreachableMapping | undefined {
  const mapping = findVma(mappings, block.start);
  return mapping !== undefined && isOfFile(mapping, block) ? mapping : undefined;
}
