/**
 * What a search of an image looks at: stretches of bytes that follow each other in an mm. Bytes that
 * the image stores are in them, and of zeros around them as many as a match can reach into.
 */
import { SEARCH_PIECE, SEARCH_UNIT } from '../../shared/dump/tasks/search-task.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import type { Block } from '../image/index/block-index.ts';
import type { ImageMm } from '../image/index/image-mm.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { Yielder } from '../job/stop.ts';

/** Bytes per unit at which a match may begin. */
const UNIT_BYTES = MiB;

/** Bytes of an mm that are searched: those of mappings that pass the filters. */
export interface SearchRange {
  readonly start: number;
  readonly end: number;
}

interface Piece {
  readonly place: number; // -1: zeros
  readonly bytes: number;
  /** For a compressed block: see SEARCH_PIECE. */
  readonly packed: number;
  readonly whole: number;
  readonly from: number;
}

function zeros(bytes: number): Piece {
  return { place: -1, bytes, packed: 0, whole: 0, from: 0 };
}

/** Bytes of a block, whose payload begins at byte `payload` of the chain. */
function stored({ packed, pages }: Block, payload: number, from: number, bytes: number): Piece {
  if (packed === 0) return { place: payload + from, bytes, packed, whole: 0, from: 0 };
  return { place: payload, bytes, packed, whole: pages * PAGE_SIZE, from };
}

/** Gathers the tables of a search. */
export class SearchTables {
  readonly #shortest: number;
  readonly #longest: number;
  readonly #pieces: number[] = [];
  readonly #units: number[] = [];
  #unitBytes = 0;
  #totalBytes = 0;
  /** The stretch that is being gathered: its pieces, its mm, and the address of its first byte. */
  #stretch: Piece[] = [];
  #mm = 0;
  #address = 0;
  #next = -1;

  /** The fewest and the most bytes of a match. */
  constructor({ shortest, longest }: { readonly shortest: number; readonly longest: number }) {
    this.#shortest = shortest;
    this.#longest = longest;
  }

  /** Bytes of the longest unit. */
  get unitBytes(): number {
    return this.#unitBytes;
  }

  /** Bytes at which a match may begin. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  get unitCount(): number {
    return this.#units.length / SEARCH_UNIT.WORDS;
  }

  get pieces(): SharedArrayBuffer {
    return shared(this.#pieces);
  }

  get units(): SharedArrayBuffer {
    return shared(this.#units);
  }

  /** Adds a range of an mm. Ranges ascend; one that begins where the last one ends continues it. */
  async add(
    contents: ImageContents,
    mm: ImageMm,
    { start, end }: SearchRange,
    yielder: Yielder,
  ): Promise<void> {
    for (let address = start; address < end; ) {
      if (yielder.isDue()) await yielder.yield();
      // A stretch of zeros or bytes, which ends with a block at the latest.
      const found = contents.look(mm, address, end - address);
      if (found.kind === 'absent') this.#end();
      else if (found.kind === 'stored') {
        const { base, block, from, bytes } = found;
        this.#add(mm.ordinal, address, stored(block, base + block.source, from, bytes));
      } else this.#addZeros(mm.ordinal, address, found.bytes);
      address += found.bytes;
    }
  }

  /** Ends the last stretch. */
  finish(): void {
    this.#end();
  }

  /** Zeros in which a whole match would fit end a stretch and begin the next one. */
  #addZeros(mm: number, address: number, bytes: number): void {
    const reach = this.#longest - 1;
    if (bytes <= reach) {
      this.#add(mm, address, zeros(bytes));
      return;
    }
    if (this.#continues(mm, address) && reach > 0) this.#add(mm, address, zeros(reach));
    this.#end();
    if (reach > 0) this.#add(mm, address + bytes - reach, zeros(reach));
  }

  #continues(mm: number, address: number): boolean {
    return this.#stretch.length > 0 && this.#mm === mm && this.#next === address;
  }

  #add(mm: number, address: number, piece: Piece): void {
    if (!this.#continues(mm, address)) {
      this.#end();
      this.#mm = mm;
      this.#address = address;
    }
    this.#stretch.push(piece);
    this.#next = address + piece.bytes;
  }

  /** Cuts the stretch into units, unless it consists of zeros. */
  #end(): void {
    const stretch = this.#stretch;
    this.#stretch = [];
    const total = stretch.reduce((sum, { bytes }) => sum + bytes, 0);
    const starts = total - this.#shortest + 1;
    if (starts <= 0 || stretch.every(({ place }) => place < 0)) return;
    const first = this.#pieces.length / SEARCH_PIECE.WORDS;
    for (const { place, bytes, packed, whole, from } of stretch) {
      this.#pieces.push(place, bytes, packed, whole, from);
    }
    let piece = 0;
    let before = 0; // bytes of the stretch before the piece
    for (let from = 0; from < starts; from += UNIT_BYTES) {
      while (before + stretch[piece]!.bytes <= from) before += stretch[piece++]!.bytes;
      const count = Math.min(UNIT_BYTES, starts - from);
      const bytes = Math.min(count + this.#longest - 1, total - from);
      const place = [first + piece, from - before, count, bytes] as const;
      this.#units.push(...place, this.#mm, this.#address + from, from > 0 ? 1 : 0);
      this.#unitBytes = Math.max(this.#unitBytes, bytes);
      this.#totalBytes += count;
    }
  }
}

function shared(values: readonly number[]): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(Math.max(8, values.length * 8));
  new Float64Array(buffer).set(values);
  return buffer;
}

/** The ranges of an mm that pass the filters. Neighbours are joined. */
export function rangesOf(
  { vmas }: ImageMm,
  flags: number,
  { start, end }: SearchRange,
): SearchRange[] {
  const ranges: { start: number; end: number }[] = [];
  for (const vma of vmas) {
    if ((vma.flags & flags) !== flags) continue;
    const from = Math.max(start, vma.start);
    const to = Math.min(end, vma.end);
    if (from >= to) continue;
    const last = ranges.at(-1);
    if (last?.end === from) last.end = to;
    else ranges.push({ start: from, end: to });
  }
  return ranges;
}
