import { outcomeOf, PAGE, SHARED_PAGES_MAX, SHORT, uniform } from './outcome.mjs';

const ADVICE = [
  [4, 'dontneed'],
  [6, 'pageout'],
  [3, 'guard_install'],
  [4, 'guard_remove'],
  [2, 'hugepage'],
  [1, 'nohugepage'],
  [4, 'mergeable'],
  [1, 'unmergeable'],
  [1, 'cold'],
];
const OPERATIONS = [
  [5, 'map'],
  [2, 'unmap'],
  [2, 'protect'],
  [2, 'move'],
  [6, 'advise'],
  [2, 'free'],
  [1, 'lock'],
  [10, 'write'],
  [8, 'read'],
];

/**
 * Pages of one mm that only one thread maps and writes, and the thread's own model of them: a Map
 * from page to what it must show. Whatever other threads do elsewhere, an access must show just
 * that.
 */
export class Region {
  #space;
  #base;
  #count;
  #file;
  #pages;
  #bytes = new Uint8Array(PAGE);
  /** How often memory ran out in the middle of an operation. */
  shortages = 0;

  constructor(space, { base, count, file }, pages = new Map()) {
    this.#space = space;
    this.#base = base;
    this.#count = count;
    this.#file = file;
    this.#pages = pages;
  }

  /**
   * The same pages in a fork: private pages are copies, and the objects behind shared ones are the
   * same.
   */
  inChild(space) {
    const pages = new Map([...this.#pages].map(([page, content]) => [page, { ...content }]));
    return new Region(space, { base: this.#base, count: this.#count, file: this.#file }, pages);
  }

  step(random) {
    const [from, to] = random.range(this.#count);
    const operation = random.weighted(OPERATIONS);
    const outcome = this.#apply(operation, from, to, random);
    if (outcome === SHORT) this.#reset();
    return operation;
  }

  /** Checks every page against the model. */
  checkAll() {
    for (const page of this.#pages.keys()) this.#load(page);
  }

  #at(page) {
    return this.#base + page * PAGE;
  }

  #apply(operation, from, to, random) {
    const calls = {
      map: () => this.#map(from, to, random),
      unmap: () => this.#unmap(from, to),
      protect: () => this.#protect(from, to, random.pick(['', 'r', 'rw', 'rw', 'rw', 'rx'])),
      move: () => this.#move(from, to, random.below(this.#count)),
      advise: () => this.#advise(from, to, random.weighted(ADVICE)),
      free: () => this.#free(from),
      lock: () => this.#lock(from, Math.min(to, from + 8)),
      write: () => this.#write(from, to, 1 + random.below(255), random.below(2) === 0),
      read: () => this.#read(from, to),
    };
    return calls[operation]();
  }

  #expect(action, expected, what) {
    const found = outcomeOf(action);
    if (found === SHORT || found === expected) return found;
    throw new Error(`${what}: ${found}, expected ${expected}`);
  }

  /**
   * Starts the region anew after an operation stopped half-way. No mapping has to be split for
   * that.
   */
  #reset() {
    this.shortages++;
    const outcome = outcomeOf(() => this.#space.munmap(this.#base, this.#count * PAGE));
    if (outcome !== 'nothing') throw new Error(`munmap of a whole region: ${outcome}`);
    this.#pages.clear();
  }

  #map(from, to, random) {
    const kind = random.weighted([
      [6, 'anonymous'],
      [2, 'shared'],
      [2, 'file'],
    ]);
    const prot = random.pick(['rw', 'rw', 'rw', 'r']);
    const most = { anonymous: this.#count, shared: SHARED_PAGES_MAX, file: this.#file.pages }[kind];
    const end = Math.min(to, from + most);
    const flags = [kind === 'shared' ? 'shared' : 'private', 'fixed'];
    if (kind !== 'file') flags.push('anonymous');
    const request = { address: this.#at(from), length: (end - from) * PAGE, prot, flags };
    const file = kind === 'file' ? { file: this.#file.id } : {};
    const outcome = this.#expect(
      () => this.#space.mmap({ ...request, ...file }),
      'nothing',
      `mmap of ${kind} memory`,
    );
    if (outcome === SHORT) return outcome;
    const object = kind === 'anonymous' ? null : { isShared: kind === 'shared', bytes: new Map() };
    for (let page = from; page < end; page++) {
      const index = page - from;
      if (kind === 'file') object.bytes.set(index, this.#file.first + index);
      this.#pages.set(page, { prot, object, index, own: null, isGuard: false, isLazy: false });
    }
    return outcome;
  }

  #unmap(from, to) {
    const length = (to - from) * PAGE;
    const action = () => this.#space.munmap(this.#at(from), length);
    const outcome = this.#expect(action, 'nothing', 'munmap');
    for (let page = from; page < to; page++) this.#pages.delete(page);
    return outcome;
  }

  #protect(from, to, prot) {
    let end = from;
    while (end < to && this.#pages.has(end)) end++;
    const outcome = this.#expect(
      () => this.#space.mprotect(this.#at(from), (to - from) * PAGE, prot),
      end < to ? 'ENOMEM' : 'nothing', // everything before the first hole is changed
      'mprotect',
    );
    for (let page = from; page < end; page++) this.#pages.get(page).prot = prot;
    return outcome;
  }

  #move(from, to, target) {
    const length = (to - from) * PAGE;
    const isApart = target + (to - from) <= from || to <= target;
    if (!isApart || target + (to - from) > this.#count) return 'nothing';
    const outcome = this.#expect(
      () => {
        const flags = ['maymove', 'fixed'];
        this.#space.mremap(this.#at(from), length, length, flags, this.#at(target));
      },
      this.#pages.has(from) ? 'nothing' : 'EFAULT',
      'mremap',
    );
    if (outcome !== 'nothing') return outcome;
    for (let page = from; page < to; page++) {
      const found = this.#pages.get(page);
      if (found === undefined) continue;
      this.#pages.delete(page);
      this.#pages.set(target + page - from, found);
    }
    return outcome;
  }

  #advise(from, to, advice) {
    let isWhole = true;
    for (let page = from; page < to; page++) isWhole &&= this.#pages.has(page);
    const outcome = this.#expect(
      () => this.#space.madvise(this.#at(from), (to - from) * PAGE, advice),
      isWhole ? 'nothing' : 'ENOMEM',
      `madvise ${advice}`,
    );
    const drops = advice === 'dontneed' || advice === 'guard_install';
    for (let page = from; page < to; page++) {
      const found = this.#pages.get(page);
      if (found === undefined) continue;
      if (drops) Object.assign(found, { own: null, isLazy: false });
      if (advice === 'guard_install') found.isGuard = true;
      if (advice === 'guard_remove') found.isGuard = false;
    }
    return outcome;
  }

  /**
   * MADV_FREE: until the page is written again it shows what it held, or from some time on zeros.
   */
  #free(page) {
    const found = this.#pages.get(page);
    if (found === undefined || found.object !== null) return 'nothing';
    const outcome = this.#expect(
      () => this.#space.madvise(this.#at(page), PAGE, 'free'),
      'nothing',
      'madvise free',
    );
    if (found.own !== null) found.isLazy = true;
    return outcome;
  }

  /** Locked pages keep their content. They are unlocked at once, or memory would run out. */
  #lock(from, to) {
    const length = (to - from) * PAGE;
    outcomeOf(() => this.#space.mlock(this.#at(from), length));
    for (let page = from; page < to; page++) this.#load(page);
    const outcome = outcomeOf(() => this.#space.munlock(this.#at(from), length));
    return outcome === SHORT ? SHORT : 'nothing'; // there may be holes
  }

  /** Writes page by page. */
  #write(from, to, value, byFill) {
    for (let page = from; page < to; page++) {
      const found = this.#pages.get(page);
      const isAllowed = found !== undefined && found.prot === 'rw' && !found.isGuard;
      const bytes = this.#bytes.fill(value);
      const outcome = this.#expect(
        () => {
          if (byFill) this.#space.fill(this.#at(page), PAGE, value);
          else this.#space.write(this.#at(page), bytes);
        },
        isAllowed ? 'nothing' : 'SIGSEGV',
        `write to page ${page}`,
      );
      if (outcome === SHORT) return SHORT;
      if (outcome !== 'nothing') return 'nothing';
      found.isLazy = false;
      if (found.object?.isShared) found.object.bytes.set(found.index, value);
      else found.own = value;
    }
    return 'nothing';
  }

  #read(from, to) {
    for (let page = from; page < to; page++) if (!this.#load(page)) break;
    return 'nothing';
  }

  /** Reads a page and compares it with the model. Returns false where it cannot be read. */
  #load(page) {
    const found = this.#pages.get(page);
    const isAllowed = found !== undefined && found.prot !== '' && !found.isGuard;
    const outcome = this.#expect(
      () => this.#space.read(this.#at(page), this.#bytes),
      isAllowed ? 'nothing' : 'SIGSEGV',
      `read from page ${page}`,
    );
    if (outcome === SHORT) this.shortages++;
    if (outcome !== 'nothing') return false;
    const value = uniform(this.#bytes, `page ${page} of the thread's own region`);
    const expected = found.own ?? found.object?.bytes.get(found.index) ?? 0;
    if (value === expected) return true;
    if (!found.isLazy || value !== 0) {
      throw new Error(`page ${page} of the thread's own region: ${value}, written ${expected}`);
    }
    Object.assign(found, { own: null, isLazy: false });
    return true;
  }
}
