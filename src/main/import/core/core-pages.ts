/** Lists the pages that a core file holds, for the load phase. */
import { filePlace, WINDOW_PAGES, windowOf } from '../../../mmu/backing/file-backing.ts';
import { NO_DIGEST } from '../../../shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG, LoadList } from '../../../shared/dump/load-table.ts';
import { GRANULE_PAGES, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { intersection, type Ranges } from '../../../shared/ranges.ts';
import { VM } from '../../../shared/vm-flags.ts';
import type { Piece } from './core-mappings.ts';

/** Pages of a run: so many that lists stay short, and so few that all workers have some. */
const RUN_PAGES = 2048;

/** What the lists have to know. */
export interface PagePolicy {
  /** The parts of the core that have data, in bytes. Undefined: all of it. */
  readonly data: Ranges | undefined;
  /** The number of the backing of a window of the core, or undefined if all pages are loaded. */
  readonly backingOf: ((window: number) => number) | undefined;
  /** Address in the vdso, or 0. */
  readonly vdso: number;
}

/** Collects the pages of pieces, which are added in ascending order. */
export class CorePages {
  readonly list: LoadList = new LoadList();
  /** Pages that the core holds, without those in holes. */
  pages = 0;
  /** Frames that the list takes: for loaded pages, and for page tables. */
  frames = 64;
  readonly #policy: PagePolicy;
  #lastGranule = -1;

  constructor(policy: PagePolicy) {
    this.#policy = policy;
  }

  /**
   * Adds the pages of a piece. In anonymous memory an absent page reads as zeros, so holes are left
   * out. In a mapping of a file it would read as the file does, so there they count as pages.
   */
  add(piece: Piece): void {
    const { start, stored, offset, file, flags } = piece;
    const { data, vdso } = this.#policy;
    if (stored === 0) return;
    const isVdso = isIn(piece, vdso);
    const writable = (flags & VM.WRITE) !== 0;
    const kind = isVdso ? LOAD.UNMAPPED : LOAD.ANON;
    const parts =
      data === undefined || file !== null || isVdso
        ? [{ from: offset, to: offset + stored }]
        : intersection(offset, offset + stored, data);
    let done = 0; // pages from `start` on that are listed, or are in a hole
    for (const { from, to } of parts) {
      const first = Math.max(done, Math.floor((from - offset) / PAGE_SIZE));
      done = Math.ceil((to - offset) / PAGE_SIZE);
      for (let page = first; page < done; ) {
        const vpn = vpnOf(start) + page;
        const place = offset + page * PAGE_SIZE;
        page += this.#addRun(vpn, place, done - page, kind, writable);
      }
    }
  }

  /** Adds at most `wanted` pages. Returns how many. */
  #addRun(vpn: number, offset: number, wanted: number, kind: number, writable: boolean): number {
    const { backingOf } = this.#policy;
    const isBacked = backingOf !== undefined && kind === LOAD.ANON;
    const window = windowOf(offset);
    const left = (window + 1) * WINDOW_PAGES - Math.floor(offset / PAGE_SIZE);
    const pages = Math.min(wanted, RUN_PAGES, isBacked ? left : RUN_PAGES);
    this.list.add({
      mm: 0,
      kind: isBacked ? LOAD.BACKED : kind,
      flags: writable && !isBacked ? LOAD_FLAG.WRITABLE : 0,
      pages,
      start: vpn,
      source: isBacked ? filePlace(offset) : offset,
      file: isBacked ? backingOf(window) : 0,
      index: 0,
      ...NO_DIGEST,
    });
    this.pages += pages;
    this.frames += (isBacked ? 0 : pages) + this.#tables(vpn, pages);
    return pages;
  }

  /** The most tables of all levels that the granules of the run take, except those of the last run. */
  #tables(vpn: number, pages: number): number {
    const last = Math.floor((vpn + pages - 1) / GRANULE_PAGES);
    const first = Math.max(Math.floor(vpn / GRANULE_PAGES), this.#lastGranule + 1);
    this.#lastGranule = last;
    return Math.max(0, last - first + 1) * 3;
  }
}

/** Whether the address lies in the range. Address 0 stands for no address. */
export function isIn(range: { readonly start: number; readonly end: number }, at: number): boolean {
  return at !== 0 && range.start <= at && at < range.end;
}
