/**
 * A structural check of OpenVZ 6 files, written from the tables of the format alone. It shares no
 * code with src, uses BigInt for every number, and throws at the first thing that is wrong.
 */

/** An object with its children; positions and lengths in bytes. */
interface Item {
  readonly at: number;
  readonly end: number;
  readonly type: number;
  readonly headerBytes: number;
  readonly content: number;
  readonly children: Item[];
}

export interface CheckedVma {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly type: number;
  readonly path: string | null;
  readonly pgoff: number;
}

export interface CheckedMm {
  readonly fields: readonly bigint[];
  readonly vmas: readonly CheckedVma[];
  readonly auxv: Buffer;
  readonly ldt: Buffer;
  /** Pages by address, those of files that only this file has included. */
  readonly pages: ReadonlyMap<number, Buffer>;
  /** How many of them another mm stores. */
  readonly copied: number;
}

export interface CheckedTask {
  readonly pid: number;
  readonly tgid: number;
  readonly name: string;
  readonly mm: number;
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly fsBase: bigint;
  readonly fpu: Buffer;
}

export interface CheckedFile {
  readonly mms: readonly CheckedMm[];
  readonly tasks: readonly CheckedTask[];
}

const NONE = 0xffff_ffff_ffff_ffffn;
const PAGE = 4096;
/** Objects that have others inside, and where those begin: after the header. */
const PARENTS = new Set([0, 1, 2, 4, 12, 1024]);
/** Exact lengths of headers. */
const HEADER_BYTES = new Map([
  [0, 992],
  [1, 136],
  [2, 24],
  [3, 32],
  [4, 96],
  [5, 16],
  [10, 16],
  [12, 120],
  [1024, 80],
  [1034, 248],
  [1051, 16],
  [4097, 280],
  [4098, 32],
  [4099, 40],
  [4102, 16],
  [4103, 24],
]);
/** The only type of object at the top of each section. */
const SECTION_TYPES = new Map([
  [2, 4],
  [3, 0],
  [4, 1],
  [5, 3],
  [6, 2],
  [7, 5],
  [10, 10],
  [12, 12],
  [23, 1034],
]);

function need(isFine: boolean, message: string): asserts isFine {
  if (!isFine) throw new Error(`openvz: ${message}`);
}

export function checkOpenvz(file: Buffer): CheckedFile {
  return new Checker(file).check();
}

class Checker {
  readonly #file: Buffer;
  /** Every object by its position. */
  readonly #items = new Map<number, Item>();
  readonly #sections = new Map<number, Item[]>();

  constructor(file: Buffer) {
    this.#file = file;
  }

  check(): CheckedFile {
    this.#frame();
    for (const required of [2, 3, 4, 5, 6, 7, 10]) {
      need(this.#sections.has(required) || required === 2, `section ${required} is missing`);
    }
    const spaces = this.#sections.get(4)!;
    const mms: CheckedMm[] = [];
    for (const space of spaces) mms.push(this.#mm(space, spaces, mms));
    const tasks = this.#sections.get(3)!.map((task) => this.#task(task, spaces));
    need(new Set(tasks.map(({ pid }) => pid)).size === tasks.length, 'two tasks have one id');
    for (const index of mms.keys())
      need(
        tasks.some(({ mm }) => mm === index),
        'an mm has no task',
      );
    return { mms, tasks };
  }

  #u32(at: number): number {
    return this.#file.readUInt32LE(at);
  }

  #u64(at: number): bigint {
    return this.#file.readBigUInt64LE(at);
  }

  #number(at: number): number {
    const value = this.#u64(at);
    need(value <= BigInt(Number.MAX_SAFE_INTEGER), `a number at ${at}`);
    return Number(value);
  }

  #frame(): void {
    const file = this.#file;
    need(file.readUInt32BE(0) === 0x791c_0163, 'the signature');
    need(file.readUInt16LE(4) === 80 && file.readUInt16LE(6) === 0x803, 'the version');
    need(file.readUInt16LE(8) === 1 && file.readUInt16LE(20) === PAGE, 'x86-64, 4096');
    need(file.length % 8 === 0, 'the length');
    const positions = new Map<number, number>();
    let at = 80;
    while (at < file.length) {
      const end = at + this.#number(at);
      const section = this.#u32(at + 8);
      need(end > at && end <= file.length && end % 8 === 0, `section ${section} ends at ${end}`);
      need(file.readUInt16LE(at + 12) === 16 && file.readUInt16LE(at + 14) === 0, 'a section');
      need(!positions.has(section), `section ${section} twice`);
      positions.set(section, at);
      const items = this.#itemsIn(at + 16, end);
      for (const { type } of items) {
        need(type === SECTION_TYPES.get(section), `object ${type} in section ${section}`);
      }
      this.#sections.set(section, items);
      at = end;
    }
    need(positions.get(23) === file.length - 264, 'the place of the trailer');
    const tail = file.length - 248;
    need(this.#u32(tail + 20) === this.#sections.get(3)?.length, 'the number of tasks');
    need(this.#u32(tail + 240) === 27 && file.readUInt32BE(tail + 244) === 0x791c_0163, 'the tail');
    for (let id = 0; id < 27; id++) {
      const expected = positions.get(id);
      const found = this.#u64(tail + 24 + id * 8);
      need(
        found === (expected === undefined ? NONE : BigInt(expected)),
        `section ${id} in the tail`,
      );
    }
  }

  #itemsIn(start: number, end: number): Item[] {
    const items: Item[] = [];
    for (let at = start; at < end; ) {
      need(at + 16 <= end, `half an object at ${at}`);
      const type = this.#u32(at + 8);
      const headerBytes = this.#file.readUInt16LE(at + 12);
      const last = at + this.#number(at);
      need(last <= end && last % 8 === 0, `object ${type} at ${at} ends at ${last}`);
      need(HEADER_BYTES.get(type) === headerBytes, `object ${type} has a header of ${headerBytes}`);
      need(last >= at + headerBytes, `object ${type} at ${at} is shorter than its header`);
      const children = PARENTS.has(type) ? this.#itemsIn(at + headerBytes, last) : [];
      const content = this.#file.readUInt16LE(at + 14);
      const item = { at, end: last, type, headerBytes, content, children };
      this.#items.set(at, item);
      items.push(item);
      at = last;
    }
    return items;
  }

  /** The object of a type that a field refers to, or undefined for none. */
  #referred(at: number, type: number): Item | undefined {
    const position = this.#u64(at);
    if (position === NONE) return undefined;
    const item = this.#items.get(Number(position));
    need(item?.type === type, `the reference at ${at} leads to no object ${type}`);
    return item;
  }

  #only(parent: Item, type: number): Item {
    const found = parent.children.filter((child) => child.type === type);
    need(found.length === 1, `${found.length} objects ${type} in that at ${parent.at}`);
    return found[0]!;
  }

  #text(name: Item): string {
    const bytes = this.#file.subarray(name.at + 16, name.end);
    need(name.content === 3 && bytes.includes(0), 'a name');
    return bytes.toString('latin1', 0, bytes.indexOf(0));
  }

  #mm(mm: Item, spaces: readonly Item[], before: readonly CheckedMm[]): CheckedMm {
    const pages = new Map<number, Buffer>();
    const vmas: CheckedVma[] = [];
    let auxv: Item | undefined;
    let ldt: Item | undefined;
    let copied = 0;
    for (const child of mm.children) {
      if (child.type === 1024) {
        need(auxv === undefined && ldt === undefined, 'a mapping after other things');
        const vma = this.#vma(child);
        need(vma.start >= (vmas.at(-1)?.end ?? 0), 'mappings in ascending order');
        vmas.push(vma);
        copied += this.#pages(child, vma, pages, spaces, before);
      } else if (child.type === 1051) auxv = child;
      else {
        need(child.type === 4103 && child.content === 7, `object ${child.type} in an mm`);
        need(child === mm.children.at(-1), 'the LDT is last');
        ldt = child;
      }
    }
    need(auxv !== undefined && auxv.content === 2, 'an auxiliary vector');
    const words = (auxv.end - auxv.at - 16) / 8;
    need(words >= 2 && words <= 42 && words % 2 === 0, `${words} words of the vector`);
    need(this.#u64(mm.at + 112) === NONE, 'mmub');
    return {
      fields: Array.from({ length: 12 }, (_, index) => this.#u64(mm.at + 16 + index * 8)),
      vmas,
      auxv: this.#file.subarray(auxv.at + 16, auxv.end),
      ldt: ldt === undefined ? Buffer.alloc(0) : this.#bits(ldt),
      pages,
      copied,
    };
  }

  #bits(bits: Item): Buffer {
    const size = this.#u32(bits.at + 16);
    need(Math.ceil(size / 8) * 8 === bits.end - bits.at - 24, 'the size of bits');
    return this.#file.subarray(bits.at + 24, bits.at + 24 + size);
  }

  #vma({ at }: Item): CheckedVma {
    const file = this.#referred(at + 16, 4);
    const [start, end] = [this.#number(at + 40), this.#number(at + 48)];
    need(start < end && start % PAGE === 0 && end % PAGE === 0, `a mapping at ${start}`);
    need(this.#u32(at + 28) === (this.#u64(at + 32) === 0n ? 0 : 1), 'anonvma and its id');
    return {
      start,
      end,
      flags: this.#number(at + 56),
      type: this.#u32(at + 24),
      path: file === undefined ? null : this.#text(this.#only(file, 4102)),
      pgoff: this.#number(at + 72),
    };
  }

  /** Adds the pages of a mapping. Returns how many of them are those of another mm. */
  #pages(
    item: Item,
    vma: CheckedVma,
    pages: Map<number, Buffer>,
    spaces: readonly Item[],
    before: readonly CheckedMm[],
  ): number {
    const file = this.#referred(item.at + 16, 4);
    const inode = file && this.#referred(file.at + 48, 12);
    if (inode !== undefined) this.#inode(inode, vma, pages);
    let copied = 0;
    let next = vma.start;
    for (const block of item.children) {
      const [start, end] = [this.#number(block.at + 16), this.#number(block.at + 24)];
      need(start >= next && start < end && end <= vma.end, `a block at ${start}`);
      need(start % PAGE === 0 && end % PAGE === 0, 'whole pages');
      next = end;
      if (block.type === 4098) this.#data(block, start, end, start, pages);
      else {
        need(block.type === 4099 && block.content === 0, `object ${block.type} in a mapping`);
        const donor = spaces.indexOf(this.#referred(block.at + 32, 1)!);
        need(donor >= 0 && donor < before.length, 'the donor comes earlier');
        const id = this.#u64(item.at + 32);
        for (let at = start; at < end; at += PAGE) {
          const given = spaces[donor]!.children.find((each) => {
            if (each.type !== 1024) return false;
            return this.#number(each.at + 40) <= at && at < this.#number(each.at + 48);
          });
          need(given !== undefined && id !== 0n && this.#u64(given.at + 32) === id, 'one anon_vma');
          const isData = given.children.some((each) => {
            if (each.type !== 4098) return false;
            return this.#number(each.at + 16) <= at && at < this.#number(each.at + 24);
          });
          need(isData, `the donor lacks ${at.toString(16)}`);
          pages.set(at, before[donor]!.pages.get(at)!);
          copied++;
        }
      }
    }
    return copied;
  }

  #inode(inode: Item, vma: CheckedVma, pages: Map<number, Buffer>): void {
    need([0x0102_1994, 0xef53].includes(this.#u32(inode.at + 104)), 'a known file system');
    let next = 0;
    for (const block of inode.children) {
      const [start, end] = [this.#number(block.at + 16), this.#number(block.at + 24)];
      need(block.type === 4098 && start >= next && start < end, `a block of a file at ${start}`);
      next = end;
      const inside = new Map<number, Buffer>();
      this.#data(block, start, end, start + vma.start - vma.pgoff * PAGE, inside);
      for (const [at, page] of inside) if (at >= vma.start && at < vma.end) pages.set(at, page);
    }
  }

  #data(block: Item, start: number, end: number, to: number, pages: Map<number, Buffer>): void {
    need(block.content === 2, 'pages have data');
    need(block.end - block.at - 32 === end - start, `the length of the block at ${start}`);
    for (let done = 0; done < end - start; done += PAGE) {
      const from = block.at + 32 + done;
      pages.set(to + done, this.#file.subarray(from, from + PAGE));
    }
  }

  #task(task: Item, spaces: readonly Item[]): CheckedTask {
    const { at } = task;
    need(this.#u64(at + 16) === 1n, 'a task that sleeps');
    need(this.#file[at + 215] === 1, 'a 64-bit task');
    const mm = spaces.indexOf(this.#referred(at + 96, 1)!);
    need(mm >= 0, 'the mm of a task');
    for (const [field, type] of [
      [104, 3],
      [112, 2],
      [128, 5],
      [160, 10],
    ] as const) {
      need(this.#referred(at + field, type) !== undefined, `the object ${type} of a task`);
    }
    const registers = this.#only(task, 4097).at;
    need(this.#u64(registers + 248) === 7n && this.#u64(registers + 272) === 6n, 'segments');
    const fpu = this.#only(task, 4103);
    need(fpu.content === 6, 'the state of the FPU');
    const name = this.#file.subarray(at + 440, at + 456);
    return {
      pid: this.#u32(at + 176),
      tgid: this.#u32(at + 180),
      name: name.toString('latin1', 0, name.indexOf(0)),
      mm,
      rip: this.#u64(registers + 240),
      rsp: this.#u64(registers + 264),
      fsBase: this.#u64(registers + 80),
      fpu: this.#bits(fpu),
    };
  }
}
