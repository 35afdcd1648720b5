/**
 * Invariants checked: hits that a program makes itself by the entries of a window load and store what
 * an operation would · after every call that takes a translation away no entry may be used, and no
 * store is lost · a page has entries for what may be done with it, and none if it lies in another
 * bank · nothing is stored while the machine is frozen · memory that is not shared has no window
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { attach } from '../../../src/mmu/machine/attach.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { createTlb } from '../../../src/mmu/machine/tlb.ts';
import { createTlbWindow, type TlbWindow } from '../../../src/mmu/machine/tlb-window.ts';
import { GiB, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { privateMemory } from '../../support/machine/adopted.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { codeOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const AT = 0x1000_0000;
const PAGES = 8;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

function fixture(at = AT) {
  const machine = testMachine({ memory: 8 * MiB, swap: MiB });
  const mm = machine.createAddressSpace();
  mm.mmap({ ...ANON, address: at, length: PAGES * PAGE_SIZE });
  return { machine, mm, guest: new Guest(mm, at) };
}

/** Accesses as an interpreter makes them: a hit by the arrays, and all else by a TLB. */
class Guest {
  readonly window: TlbWindow;
  readonly tlb;
  hits = 0;

  constructor(mm: AddressSpace, at: number) {
    this.window = createTlbWindow(mm, at);
    this.tlb = createTlb(mm);
  }

  #entry(table: Int32Array, address: number, width: number): number {
    const { now, since } = this.window;
    if (now[0] !== since[0] || (address & (width - 1)) !== 0) return 0;
    return table[address >>> 12]!;
  }

  load(address: number, width: 1 | 2 | 4): number {
    const { window } = this;
    const entry = this.#entry(window.loads, address, width);
    if (entry !== 0) {
      this.hits++;
      if (width === 4) return window.words[(address + entry) >>> 2]!;
      if (width === 2) return window.halves[(address + entry) >>> 1]!;
      return window.bytes[(address + entry - 1) >>> 0]!;
    }
    window.fill(address, 'read');
    const full = window.base + address;
    if (width === 4) return this.tlb.load32(full);
    return width === 2 ? this.tlb.load16(full) : this.tlb.load8(full);
  }

  store(address: number, width: 1 | 2 | 4, value: number): void {
    const { window } = this;
    const entry = this.#entry(window.stores, address, width);
    if (entry !== 0) {
      this.hits++;
      if (width === 4) window.words[(address + entry) >>> 2] = value;
      else if (width === 2) window.halves[(address + entry) >>> 1] = value;
      else window.bytes[(address + entry - 1) >>> 0] = value;
      return;
    }
    window.fill(address, 'write');
    const full = window.base + address;
    if (width === 4) this.tlb.store32(full, value);
    else if (width === 2) this.tlb.store16(full, value);
    else this.tlb.store8(full, value);
  }
}

/** Reads four bytes by an operation: an access of more than 64 bytes uses no translation. */
function wordAt(mm: AddressSpace, address: number): number {
  const page = readBytes(mm, address - (address % PAGE_SIZE), PAGE_SIZE);
  return new DataView(page.buffer, page.byteOffset).getInt32(address % PAGE_SIZE, true);
}

describe.each([
  ['in the lowest 4 GiB', AT],
  ['in the upper half of a window', 2 * GiB + AT],
  ['at the end of a window', 4 * GiB - PAGES * PAGE_SIZE],
  ['near the end of user space', 0x7fff_0000_0000],
])('hits of every width, %s', (_, at) => {
  it('are those of the bytes', () => {
    const access = fc.record({
      width: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
      offset: fc.nat(PAGES * PAGE_SIZE - 4),
      value: fc.nat(0xffff_ffff),
      isStore: fc.boolean(),
    });
    let hits = 0;
    fc.assert(
      fc.property(fc.array(access, { minLength: 30, maxLength: 60 }), (accesses) => {
        const { machine, mm, guest } = fixture(at);
        const model = new DataView(new ArrayBuffer(PAGES * PAGE_SIZE));
        const low = at >>> 0;
        mm.inside(() => {
          for (const { width, offset, value, isStore } of accesses) {
            const bytes = Array.from({ length: width }, (__, byte) => byte);
            if (isStore) {
              for (const byte of bytes) model.setUint8(offset + byte, value >>> (8 * byte));
              guest.store(low + offset, width, value);
            }
            const expected = bytes.reduce((sum, byte) => {
              return sum + model.getUint8(offset + byte) * 2 ** (8 * byte);
            }, 0);
            expect(guest.load(low + offset, width) >>> 0).toBe(expected);
          }
        });
        const found = readBytes(mm, at, PAGES * PAGE_SIZE);
        expect(Buffer.compare(found, new Uint8Array(model.buffer))).toBe(0);
        assertTablesTrue(machine);
        hits += guest.hits;
      }),
      { numRuns: 30 },
    );
    expect(hits).toBeGreaterThan(100);
  });
});

type Taker = (mm: AddressSpace, machine: Machine) => unknown;
/** Calls that take translations of the page at AT away, and whether its bytes go, too. */
const TAKERS: readonly (readonly [name: string, take: Taker, isEmptied: boolean])[] = [
  ['fork', (mm) => mm.fork(), false],
  ['a snapshot', (_, machine) => machine.snapshot(), false],
  ['pageout', (mm) => mm.madvise(AT, PAGE_SIZE, 'pageout'), false],
  ['dontneed', (mm) => mm.madvise(AT, PAGE_SIZE, 'dontneed'), true],
  [
    'mprotect there and back',
    (mm) => {
      mm.mprotect(AT, PAGE_SIZE, 'r');
      mm.mprotect(AT, PAGE_SIZE, 'rw');
    },
    false,
  ],
  ['free', (mm) => mm.madvise(AT, PAGE_SIZE, 'free'), false],
  ['reclaim', (_, machine) => machine.reclaim(64), false],
  ['dirty.take', (mm) => mm.dirty.take(), false],
];

describe('what takes a translation away', () => {
  it.each(TAKERS)('%s: no entry may be used, and the next store is seen', (_, take, isEmptied) => {
    const { machine, mm, guest } = fixture();
    const { window } = guest;
    mm.dirty.start();
    mm.inside(() => {
      for (let turn = 0; turn < 3; turn++) {
        guest.store(AT, 4, turn);
        const before = guest.hits;
        guest.store(AT, 4, turn);
        expect(guest.hits).toBe(before + 1);
        const other = take(mm, machine);
        expect(window.now[0]).not.toBe(window.since[0]);
        window.enter();
        expect(window.now[0]).toBe(window.since[0]);
        expect([window.loads[AT >>> 12], window.stores[AT >>> 12]]).toEqual([0, 0]);
        expect(guest.load(AT, 4)).toBe(isEmptied ? 0 : turn);
        guest.store(AT, 4, 100 + turn);
        expect(wordAt(mm, AT)).toBe(100 + turn);
        if (other instanceof Object && 'fork' in other) {
          expect(wordAt(other as AddressSpace, AT)).toBe(turn);
        }
      }
    });
    expect(mm.dirty.take()).toContainEqual({ start: AT, end: AT + PAGE_SIZE });
  });

  it('a page of zeros gives way to one of its own: no entry shows the zeros any more', () => {
    const { mm, guest } = fixture();
    const twin = createTlbWindow(mm, AT);
    mm.inside(() => {
      twin.fill(AT, 'read');
      expect(guest.load(AT, 4)).toBe(0);
      guest.store(AT, 4, 7);
      expect(guest.load(AT, 4)).toBe(7);
      expect([0, guest.window.loads[AT >>> 12]]).toContain(twin.loads[AT >>> 12]);
    });
  });

  it('another address space of the thread: entries wait until the thread is inside again', () => {
    const { mm, guest } = fixture();
    const child = mm.fork();
    const other = new Guest(child, AT);
    const { window } = guest;
    mm.inside(() => {
      guest.store(AT, 4, 1);
      child.inside(() => {
        other.store(AT, 4, 2);
        expect(window.now[0]).not.toBe(window.since[0]);
      });
      window.enter();
      expect(window.stores[AT >>> 12]).not.toBe(0);
      expect(guest.load(AT, 4)).toBe(1);
    });
    expect(window.now[0]).not.toBe(window.since[0]);
    expect([wordAt(mm, AT), wordAt(child, AT)]).toEqual([1, 2]);
  });

  it('the end of `inside`: fill and enter are EINVAL, and no entry may be used', () => {
    const { mm, guest } = fixture();
    const { window } = guest;
    mm.inside(() => guest.store(AT, 4, 1));
    expect(window.now[0]).not.toBe(window.since[0]);
    expect(codeOf(() => window.enter())).toBe('EINVAL');
    expect(codeOf(() => window.fill(AT, 'read'))).toBe('EINVAL');
  });

  it('a freeze: EAGAIN where the thread must not wait; the end of the machine: no views', async () => {
    const { machine, mm, guest } = fixture();
    const { window } = guest;
    mm.inside(() => guest.store(AT, 4, 1));
    const freeze = await machine.freeze();
    expect(codeOf(() => mm.inside(() => window.enter()))).toBe('EAGAIN');
    expect(codeOf(() => mm.inside(() => window.fill(AT, 'write')))).toBe('EAGAIN');
    freeze.thaw();
    mm.inside(() => expect(guest.load(AT, 4)).toBe(1));
    await machine.close();
    expect(codeOf(() => mm.inside(() => window.enter()))).toBe('MACHINE_CLOSED');
    expect([window.bytes.length, window.halves.length, window.words.length]).toEqual([0, 0, 0]);
    expect(window.loads[AT >>> 12]).toBe(0);
  });
});

describe('the entries of a page', () => {
  it('are for what may be done with it', () => {
    const { mm, guest } = fixture();
    const { window } = guest;
    const shown = () => {
      const page = AT >>> 12;
      return [window.loads[page], window.stores[page], window.fetches[page]].map((x) => x !== 0);
    };
    mm.inside(() => {
      expect(window.fill(AT, 'read')).toBe(true);
      expect(shown()).toEqual([true, false, false]);
      expect(codeOf(() => window.fill(AT, 'execute'))).toBe('SIGSEGV');
      expect(window.fill(AT, 'write')).toBe(true);
      expect(shown()).toEqual([true, true, false]);
      mm.mprotect(AT, PAGE_SIZE, 'rx');
      expect(window.fill(AT, 'execute')).toBe(true);
      expect(shown()).toEqual([true, false, true]);
      expect(() => window.fill(AT, 'write')).toThrow(
        expect.objectContaining({
          code: 'SIGSEGV',
          fields: expect.objectContaining({ address: AT }),
        }),
      );
      mm.munmap(AT, PAGE_SIZE);
      expect(codeOf(() => window.fill(AT, 'read'))).toBe('SIGSEGV');
      expect(codeOf(() => window.fill(AT, 'x' as never))).toBe('OPTION_INVALID');
      expect(codeOf(() => window.fill('1' as never, 'read'))).toBe('OPTION_INVALID');
    });
  });

  it('are made in each thread object for itself', () => {
    const { mm, guest } = fixture();
    const twin = new Guest(attach(mm.handle, { mayBlock: false }), AT);
    mm.inside(() => {
      guest.store(AT, 4, 5);
      expect(twin.window.loads[AT >>> 12]).toBe(0);
    });
  });
});

describe('adopted memory', () => {
  it('has a window of its own, also where addresses equal offsets; the rest has no entries', () => {
    const ram = new SharedArrayBuffer(32 * PAGE_SIZE);
    const mm = testMachine({ memory: 2 * MiB, banks: [ram] }).createAddressSpace();
    mm.mapFrames({ length: ram.byteLength, prot: 'rw', address: 4 * GiB });
    mm.mmap({ ...ANON, address: 4 * GiB + MiB, length: MiB });
    const guest = new Guest(mm, 4 * GiB);
    const words = new Int32Array(ram);
    mm.inside(() => {
      for (let at = 0; at < ram.byteLength; at += 1028) {
        guest.store(at, 4, at);
        guest.store(MiB + at, 4, ~at); // in another bank
        expect(words[at / 4]).toBe(at);
        expect([guest.load(at, 4), guest.load(MiB + at, 4)]).toEqual([at, ~at]);
      }
      expect([guest.window.fill(0, 'write'), guest.window.fill(MiB, 'write')]).toEqual([
        true,
        false,
      ]);
      expect([guest.window.loads[0], guest.window.loads[MiB >>> 12]]).toEqual([1, 0]);
    });
    expect(guest.hits).toBeGreaterThan(30);
  });

  it('that is not shared has no window', () => {
    const mm = testMachine({ banks: [privateMemory(2)] }).createAddressSpace();
    mm.mapFrames({ length: 2 * PAGE_SIZE, prot: 'rw', address: AT });
    expect(codeOf(() => createTlbWindow(mm, AT))).toBe('EINVAL');
    mm.mmap({ ...ANON, address: 2 * AT, length: PAGE_SIZE });
    const guest = new Guest(mm, 2 * AT);
    mm.inside(() => {
      expect(guest.window.fill(AT, 'write')).toBe(false);
      guest.store(AT, 4, 3);
      expect([guest.load(AT, 4), guest.window.loads[AT >>> 12]]).toEqual([3, 0]);
    });
  });

  it('a window begins at a page that can be read', () => {
    const { mm } = fixture();
    expect(codeOf(() => createTlbWindow(mm, 2 * AT))).toBe('SIGSEGV');
    expect(codeOf(() => createTlbWindow(mm, -1))).toBe('SIGSEGV');
    expect(codeOf(() => createTlbWindow(mm, '1' as never))).toBe('OPTION_INVALID');
    expect(codeOf(() => createTlbWindow({} as never, AT))).toBe('OPTION_INVALID');
  });
});
