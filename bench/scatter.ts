/** Where the frames of an address space lie, and which of its pages are zero. */
const PAGE = 4096;

/** A pattern of pages: what an address space of a benchmark looks like. */
export interface Pattern {
  readonly bytes: number;
  /** Length of the runs of frames that lie side by side behind neighbouring pages; 0: one run. */
  readonly run: number;
  /** Share of pages that hold nothing but zeros, in whole runs (of at most 512). */
  readonly zeroPercent: number;
}

export function describeRun(run: number): string {
  if (run === 0) return 'contiguous';
  return run === 1 ? 'random' : `runs of ${run}`;
}

/** 0 … count - 1 in an order that looks random and is the same every time. */
function shuffled(count: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, index) => index);
  let state = 12345;
  for (let index = count - 1; index > 0; index--) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const other = Math.floor((state / 0x8000_0000) * (index + 1));
    const kept = order[index]!;
    order[index] = order[other]!;
    order[other] = kept;
  }
  return order;
}

/** Frame numbers in order of address: runs of `run` neighbours, with the runs in random order. */
export function scatteredFrames(frames: number, run: number): Int32Array {
  const length = run === 0 ? frames : run;
  if (frames % length !== 0) throw new RangeError(`${frames} frames are no whole runs of ${run}`);
  const order = shuffled(frames / length);
  const list = new Int32Array(frames);
  for (let index = 0; index < frames; index++) {
    list[index] = order[Math.floor(index / length)]! * length + (index % length);
  }
  return list;
}

/** One byte per page, in order of address: 1 if the page is zero. */
export function zeroPages({ bytes, run, zeroPercent }: Pattern): Uint8Array {
  const pages = bytes / PAGE;
  const block = run === 0 ? Math.min(512, pages) : Math.min(run, 512);
  const blocks = Math.floor(pages / block);
  const isZero = new Uint8Array(pages);
  const wanted = Math.round((blocks * zeroPercent) / 100);
  for (const each of shuffled(blocks).subarray(0, wanted)) {
    isZero.fill(1, each * block, (each + 1) * block);
  }
  return isZero;
}

/** The frames that a dump of the pattern stores, in order of address. */
export function storedFrames(pattern: Pattern): Int32Array {
  const isZero = zeroPages(pattern);
  return scatteredFrames(pattern.bytes / PAGE, pattern.run).filter((_, page) => isZero[page] === 0);
}
