/**
 * The units of a search in mms of a machine, as programs read them. The machine is frozen, and
 * nothing faults in. Pages of living files, of devices and guard pages are not known, as in an image.
 */
import { CONTENT_OF, contentOf, readBacked } from '../../mmu/files/content.ts';
import { isUnreachableKind } from '../../mmu/files/file-record.ts';
import { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { type Mm, mmOf } from '../../mmu/mm/mm.ts';
import { PG } from '../../mmu/physical/page-struct.ts';
import { isZeroPage } from '../../mmu/tables/classify.ts';
import { SEARCH_UNIT, type SearchedSpaces } from '../../shared/dump/tasks/search-task.ts';
import {
  addressOf,
  granuleStart,
  PAGE_SIZE,
  pageAlignUp,
  vpnOf,
  WORDS_PER_PAGE,
} from '../../shared/page.ts';
import { NO_THREAD } from '../../shared/sync/thread-layout.ts';
import { FerriedPages } from '../ferry/ferried-pages.ts';
import { Spans, type UnitBytes } from './unit-bytes.ts';

/** Nothing is known of the page. */
const UNKNOWN = -1;
const NO_BYTES: Uint8Array = new Uint8Array();

export class SpaceBytes implements UnitBytes {
  readonly buffer: Buffer;
  readonly known: Spans = new Spans();
  readonly stored: Spans = new Spans();
  readonly #machine: MachineParts;
  readonly #mms: readonly Mm[];
  /** Only mappings with these VM_* bits are searched. */
  readonly #flags: number;
  readonly #ferried: FerriedPages | undefined;
  /** Neighbouring bytes of a bank that will be copied to byte `to` of the buffer. */
  readonly #run = { bank: NO_BYTES, from: 0, to: 0, bytes: 0 };
  readonly #page = new Int32Array(WORDS_PER_PAGE);
  readonly #pageBytes: Uint8Array = new Uint8Array(this.#page.buffer);

  /** `unitBytes`: bytes of the longest unit. */
  constructor({ machine, slots, flags, ferry, unitPages }: SearchedSpaces, unitBytes: number) {
    this.#machine = new MachineParts(machine, { thread: NO_THREAD });
    this.#mms = slots.map((slot) => mmOf(this.#machine, slot, NO_THREAD));
    this.#flags = flags;
    this.#ferried = FerriedPages.of(this.#machine, ferry, unitPages);
    this.buffer = Buffer.allocUnsafeSlow(Math.max(1, unitBytes));
  }

  load(units: Float64Array, at: number): void {
    const mm = this.#mms[units[at + SEARCH_UNIT.MM]!]!;
    const start = units[at + SEARCH_UNIT.ADDRESS]!;
    const end = start + units[at + SEARCH_UNIT.BYTES]!;
    this.known.clear();
    this.stored.clear();
    const from = vpnOf(start);
    const to = pageAlignUp(end) / PAGE_SIZE;
    this.#fetch(mm, from, to);
    const { vmas } = mm;
    for (let ordinal = vmas.find(from); ordinal < vmas.count; ordinal++) {
      const slot = vmas.slot(ordinal);
      const first = Math.max(from, vmas.start(slot));
      const last = Math.min(to, vmas.end(slot));
      if (first >= to) break;
      if ((vmas.flags(slot) & this.#flags) !== this.#flags) continue;
      for (let vpn = first; vpn < last; vpn++) this.#load(mm, slot, vpn, start, end);
    }
    this.#copyRun();
  }

  close(): void {
    this.#machine.hostFiles.close();
  }

  /** Fetches the unshared pages of a unit. A berth begins with a granule. */
  #fetch(mm: Mm, from: number, to: number): void {
    const ferried = this.#ferried;
    if (ferried === undefined) return;
    const granule = granuleStart(from);
    ferried.begin(mm, granule);
    ferried.fetchUnit(mm, to - granule);
  }

  /** Loads the bytes of page `vpn` that lie in [start, end), the bytes of the unit. */
  #load(mm: Mm, slot: number, vpn: number, start: number, end: number): void {
    const content = knownContent(mm, slot, vpn);
    if (content === UNKNOWN) return;
    const address = addressOf(vpn);
    const skip = Math.max(0, start - address);
    const to = Math.max(start, address) - start;
    const count = Math.min(end, address + PAGE_SIZE) - (start + to);
    this.known.add(to, to + count);
    if (content === CONTENT_OF.ZEROS) {
      this.buffer.fill(0, to, to + count);
      return;
    }
    if (content === CONTENT_OF.BACKED) this.#copyBacked(mm, slot, vpn, skip, to, count);
    else this.#copyFrame(mm, vpn, content, skip, to, count);
  }

  #copyBacked(mm: Mm, slot: number, vpn: number, skip: number, to: number, count: number): void {
    readBacked(mm, slot, vpn, this.#pageBytes);
    this.buffer.set(this.#pageBytes.subarray(skip, skip + count), to);
    if (!isZeroPage(this.#page, 0)) this.stored.add(to, to + count);
  }

  /** Copies bytes of a frame or swap slot, together with those of its neighbours. */
  #copyFrame(
    { memory }: Mm,
    vpn: number,
    pfn: number,
    skip: number,
    to: number,
    count: number,
  ): void {
    const page = this.#ferried?.owns(pfn) === true ? this.#ferried.numberOf(vpn, pfn) : pfn;
    const bank = memory.bytesOf(page);
    const from = memory.byteAt(page) + skip;
    const run = this.#run;
    const continues =
      run.bank === bank && run.from + run.bytes === from && run.to + run.bytes === to;
    if (!continues) {
      this.#copyRun();
      run.bank = bank;
      run.from = from;
      run.to = to;
      run.bytes = 0;
    }
    run.bytes += count;
    if (!isZeroPage(memory.wordsOf(page), memory.wordAt(page))) this.stored.add(to, to + count);
  }

  /** Copies the neighbouring bytes that were gathered. */
  #copyRun(): void {
    const run = this.#run;
    if (run.bytes > 0) this.buffer.set(run.bank.subarray(run.from, run.from + run.bytes), run.to);
    run.bytes = 0;
  }
}

/**
 * What `contentOf` says of a page, or UNKNOWN for what a dump does not store and a restore would not
 * bring back: pages of living files, of devices, guard pages.
 */
function knownContent(mm: Mm, slot: number, vpn: number): number {
  const content = contentOf(mm, slot, vpn);
  if (content < 0 && content !== CONTENT_OF.BACKED) return UNKNOWN;
  const file = mm.vmas.file(slot);
  if (file === 0 || content === CONTENT_OF.BACKED) return content;
  const isLiving = !isUnreachableKind(mm.files.kind(file));
  if (content > 0) return isLiving && isOfFile(mm, content) ? UNKNOWN : content;
  if (isLiving) return UNKNOWN;
  return addressOf(mm.vmas.fileIndex(slot, vpn)) < mm.files.size(file) ? content : UNKNOWN;
}

/** Whether a frame is a page of a file, and no copy that belongs to an mm. A swap slot never is. */
function isOfFile({ pages, memory }: Mm, pfn: number): boolean {
  if (pfn >= memory.frames) return false;
  return pages.mapping(pfn) !== 0 && (pages.flags(pfn) & PG.ANON) === 0;
}
