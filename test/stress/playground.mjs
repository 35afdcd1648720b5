import { outcomeOf, PAGE, SHARED_PAGES_MAX, SHORT, uniform } from './outcome.mjs';

const ADVICE = [
  ...['dontneed', 'dontneed', 'pageout', 'pageout', 'free', 'hugepage', 'hugepage', 'nohugepage'],
  ...['guard_install', 'guard_remove', 'mergeable', 'mergeable', 'unmergeable', 'cold', 'willneed'],
  ...['wipeonfork', 'keeponfork', 'dontfork', 'dofork', 'populate_read', 'populate_write'],
];
/** Possible outcomes of a call while other threads map, unmap and protect the same pages. */
const ANSWERS = ['nothing', SHORT, 'ENOMEM', 'EINVAL', 'EFAULT', 'EACCES', 'SIGSEGV', 'SIGBUS'];
const LOCKED_PAGES = 8;

/**
 * Pages that all threads map, change and store to at the same time. Their content is unknown; but a
 * page is stored as a whole, so a reader of a page sees one value in all of its bytes.
 */
export class Playground {
  #space;
  #base;
  #count;
  #file;
  #heap;
  #bytes = new Uint8Array(PAGE);

  constructor(space, { base, count, file, heap }) {
    this.#space = space;
    this.#base = base;
    this.#count = count;
    this.#file = file;
    this.#heap = heap;
  }

  step(random) {
    const [from, to] = random.range(this.#count);
    const at = this.#base + from * PAGE;
    const length = (to - from) * PAGE;
    const outcome = outcomeOf(() => this.#call(random, at, length));
    if (!ANSWERS.includes(outcome)) throw new Error(`in the playground: ${outcome}`);
    // Locked and shared pages cannot be reclaimed: unmap everything before all threads run short.
    if (outcome === SHORT) this.#space.munmap(this.#base, this.#count * PAGE);
  }

  #call(random, at, length) {
    const space = this.#space;
    switch (random.below(16)) {
      case 0:
      case 1:
        return this.#map(random, at, length);
      case 2:
        return space.munmap(at, length);
      case 3:
        return space.mprotect(at, length, random.pick(['', 'r', 'rw', 'rw', 'rx']));
      case 4:
        return this.#remap(random, at, length);
      case 5:
        return space.mlock(
          at,
          Math.min(length, LOCKED_PAGES * PAGE),
          random.pick([[], ['onfault']]),
        );
      case 6:
        return space.munlock(this.#base, this.#count * PAGE);
      case 7:
        return this.#moveHeap(random);
      case 8:
        return random.below(2) === 0 ? space.mincore(at, length) : space.msync(at, length);
      case 9:
      case 10:
        return space.madvise(at, length, random.pick(ADVICE));
      case 11:
      case 12:
        return this.#readPages(at, length);
      default:
        return this.#fillPages(random, at, length);
    }
  }

  #map(random, address, length) {
    const prot = random.pick(['rw', 'rw', 'r', 'rx']);
    const kind = random.pick(['private', 'private', 'shared', 'file', 'elsewhere']);
    if (kind === 'file') {
      const request = { address, length: Math.min(length, this.#file.pages * PAGE), prot };
      this.#space.mmap({ ...request, flags: ['private', 'fixed'], file: this.#file.id });
    } else if (kind === 'elsewhere') {
      const flags = ['private', 'anonymous', ...random.pick([[], ['populate']])];
      const there = this.#space.mmap({ length, prot, flags });
      this.#space.munmap(there, length);
    } else {
      const most = kind === 'shared' ? SHARED_PAGES_MAX * PAGE : length;
      const request = { address, length: Math.min(length, most), prot };
      this.#space.mmap({ ...request, flags: [kind, 'anonymous', 'fixed'] });
    }
  }

  /** Moves or shrinks pages inside the playground, or moves them away and unmaps them. */
  #remap(random, at, length) {
    const inside = this.#base + random.below(this.#count - length / PAGE + 1) * PAGE;
    const kind = random.below(4);
    if (kind === 0) this.#space.mremap(at, length, length, ['maymove', 'fixed'], inside);
    else if (kind === 1) this.#space.mremap(at, length, Math.max(PAGE, length - 3 * PAGE));
    else {
      const flags = kind === 2 ? ['maymove'] : ['maymove', 'dontunmap'];
      const grown = kind === 2 ? length + 2 * PAGE : length;
      const there = this.#space.mremap(at, length, grown, flags);
      if (there !== at) this.#space.munmap(there, grown);
    }
  }

  #moveHeap(random) {
    const { start, pages } = this.#heap;
    this.#space.brk(start + random.below(pages * PAGE));
    this.#space.fill(start + random.below(pages) * PAGE, PAGE, 1 + random.below(200));
  }

  #readPages(at, length) {
    for (let page = at; page < at + length; page += PAGE) {
      this.#space.read(page, this.#bytes);
      uniform(this.#bytes, `page at ${page} of the playground`);
    }
  }

  /** Uses few values, so that pages are alike and can be merged. */
  #fillPages(random, at, length) {
    for (let page = at; page < at + length; page += PAGE) {
      this.#space.fill(page, PAGE, 1 + random.below(3));
    }
  }
}
