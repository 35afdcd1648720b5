/** Gathers scanned pages into SCAN_RUN records, and recognises 2 MiB leaves among them. */
import { SCAN_RUN, SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { writeU64 } from '../../shared/u64.ts';

const { VMA, START, PAGES, KIND, WRITABLE, PFN, FRAMES, WORDS } = SCAN_RUN;
const { HUGE, MERGED } = SCAN_RUN_KIND;

/** The runs that one worker finds. */
export class ScanRuns {
  #words = new Int32Array(1024 * WORDS);
  #count = 0;
  #frames = new Float64Array(1024);
  #frameCount = 0;
  // The current run. #pages is 0 if there is none.
  #vma = 0;
  #start = 0;
  #pages = 0;
  #kind = 0;
  #writable = false;
  #pfn = 0;
  #framesAt = -1;
  /** Pages at the end of the current run that may turn out to be one huge page. */
  #hugePages = 0;
  #hugePfn = 0;

  /**
   * Adds the next page to be loaded. `isHuge`: its frame belongs to a huge page. `frame`: its frame
   * or swap entry (see ScanReport.frames), or 0 if no other process can show it or the task does
   * not ask for frames.
   */
  page(
    vma: number,
    vpn: number,
    kind: number,
    writable: boolean,
    pfn: number,
    isHuge: boolean,
    frame: number,
  ): void {
    const continues =
      this.#pages > 0 &&
      kind === this.#kind &&
      writable === this.#writable &&
      (frame !== 0) === this.#framesAt >= 0 &&
      kind !== MERGED &&
      vpn === this.#start + this.#pages;
    if (!continues) {
      this.end();
      this.#vma = vma;
      this.#start = vpn;
      this.#kind = kind;
      this.#writable = writable;
      this.#pfn = pfn;
      this.#framesAt = frame === 0 ? -1 : this.#frameCount;
    }
    this.#pages++;
    if (frame !== 0) this.#addFrame(frame);
    this.#trackHuge(vpn, pfn, isHuge);
  }

  /**
   * Recognises 2 MiB leaves. Such a leaf shows as 512 aligned pages in 512 aligned, neighbouring
   * frames of a huge page.
   */
  #trackHuge(vpn: number, pfn: number, isHuge: boolean): void {
    if (!isHuge) {
      this.#hugePages = 0;
      return;
    }
    const isStart = vpn % GRANULE_PAGES === 0 && pfn % GRANULE_PAGES === 0;
    if (isStart) {
      this.#hugePages = 1;
      this.#hugePfn = pfn;
    } else if (this.#hugePages > 0 && pfn === this.#hugePfn + this.#hugePages) {
      this.#hugePages++;
    } else {
      this.#hugePages = 0;
    }
    if (this.#hugePages === GRANULE_PAGES) this.#splitHuge();
  }

  /** Makes a run of its own of the last 512 pages of the current run. */
  #splitHuge(): void {
    const start = this.#start + this.#pages - GRANULE_PAGES;
    this.#pages -= GRANULE_PAGES;
    const kind = this.#kind;
    this.#flush();
    this.#start = start;
    this.#pages = GRANULE_PAGES;
    this.#kind = HUGE;
    this.#pfn = this.#hugePfn;
    if (this.#framesAt >= 0) this.#framesAt = this.#frameCount - GRANULE_PAGES;
    this.#flush();
    this.#kind = kind;
    this.#hugePages = 0;
  }

  /** Ends the current run. */
  end(): void {
    this.#hugePages = 0;
    this.#flush();
  }

  #flush(): void {
    if (this.#pages === 0) return;
    const at = this.#count * WORDS;
    if (at === this.#words.length) this.#grow();
    const words = this.#words;
    words[at + VMA] = this.#vma;
    writeU64(words, at + START, this.#start);
    words[at + PAGES] = this.#pages;
    words[at + KIND] = this.#kind;
    words[at + WRITABLE] = this.#writable ? 1 : 0;
    writeU64(words, at + PFN, this.#pfn);
    words[at + FRAMES] = this.#framesAt;
    this.#count++;
    this.#pages = 0;
  }

  #grow(): void {
    const larger = new Int32Array(this.#words.length * 2);
    larger.set(this.#words);
    this.#words = larger;
  }

  #addFrame(frame: number): void {
    if (this.#frameCount === this.#frames.length) {
      const larger = new Float64Array(this.#frames.length * 2);
      larger.set(this.#frames);
      this.#frames = larger;
    }
    this.#frames[this.#frameCount++] = frame;
  }

  /** The frames of all runs so far: see ScanReport.frames. */
  takeFrames(): Float64Array {
    return this.#frames.slice(0, this.#frameCount);
  }

  /** The SCAN_RUN records of all runs so far. */
  take(): Int32Array {
    return this.#words.slice(0, this.#count * WORDS);
  }
}
