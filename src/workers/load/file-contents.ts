/**
 * Loads pages of a file that no page table shows: reads them from the file itself into its page
 * cache. Pages of zeros are left out, because an absent page reads as zeros.
 */
import { cacheInsert, cacheLookup } from '../../mmu/files/page-cache.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PG } from '../../mmu/physical/page-struct.ts';
import type { LoadRun } from '../../shared/dump/load-table.ts';
import { addressOf, MiB, PAGE_SIZE } from '../../shared/page.ts';
import type { Reader } from '../task/read-at.ts';

const WINDOW_PAGES = MiB / PAGE_SIZE;
const ZEROS = new Uint8Array(PAGE_SIZE);

/** Loads the CONTENT runs of one worker. */
export class FileContents {
  readonly #reader: Reader;
  #window: Uint8Array | undefined;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /**
   * Loads the pages of a run and returns how many of them have content. Throws INPUT_FAILED if the
   * file cannot be read, and ENOMEM if there are no free frames.
   *
   * Precondition: the mmap lock is held for reading.
   */
  load(mm: Mm, run: LoadRun): number {
    this.#window ??= new Uint8Array(MiB);
    const window = this.#window;
    let found = 0;
    for (let done = 0; done < run.pages; done += WINDOW_PAGES) {
      const count = Math.min(WINDOW_PAGES, run.pages - done);
      this.#reader.readToEnd(window, addressOf(count), run.source + addressOf(done));
      for (let page = 0; page < count; page++) {
        const bytes = window.subarray(addressOf(page), addressOf(page + 1));
        if (Buffer.compare(bytes, ZEROS) === 0) continue;
        found++;
        insert(mm, run.file, run.index + done + page, bytes);
      }
    }
    return found;
  }
}

function insert(mm: Mm, file: number, index: number, bytes: Uint8Array): void {
  const lock = mm.files.lock(file);
  lock.lock(mm.thread, mm.mayBlock);
  try {
    if (cacheLookup(mm, file, index) !== 0) return;
    const pfn = mm.allocator.allocate(mm.thread);
    mm.memory.page(pfn).set(bytes);
    mm.pages.describe(pfn, PG.SWAPBACKED, file, index);
    try {
      cacheInsert(mm, file, index, pfn);
    } catch (error) {
      mm.allocator.put(pfn, mm.thread);
      throw error;
    }
  } finally {
    lock.unlock(mm.thread);
  }
}
