/**
 * Invariants checked: a TLB loads and stores what an operation would, at any address and width ·
 * after every call that takes a translation away, the next access finds what is there now, and no
 * store is lost · a store leaves DIRTY in the leaf · nothing is stored while the machine is frozen ·
 * an access that faults says where and why, and has stored nothing
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { createTlb, type Tlb } from '../../../src/mmu/machine/tlb.ts';
import { PTE } from '../../../src/mmu/tables/pte.ts';
import { GiB, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { codeOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const AT = 0x1000_0000;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

function fixture(pages = 8, at = AT) {
  const machine = testMachine({ memory: 8 * MiB, swap: MiB });
  const mm = machine.createAddressSpace();
  mm.mmap({ ...ANON, address: at, length: pages * PAGE_SIZE });
  return { machine, mm, tlb: createTlb(mm) };
}

/** Reads four bytes by an operation: an access of more than 64 bytes uses no translation. */
function wordAt(mm: AddressSpace, address: number): number {
  const page = readBytes(mm, address - (address % PAGE_SIZE), PAGE_SIZE);
  return new DataView(page.buffer, page.byteOffset).getInt32(address % PAGE_SIZE, true);
}

type Width = 8 | 16 | 32 | 64;

function load(tlb: Tlb, width: Width, address: number): bigint {
  if (width === 64) return tlb.load64(address);
  return BigInt(
    width === 8 ? tlb.load8(address) : width === 16 ? tlb.load16(address) : tlb.load32u(address),
  );
}

function store(tlb: Tlb, width: Width, address: number, value: bigint): void {
  if (width === 64) tlb.store64(address, value);
  else if (width === 32) tlb.store32(address, Number(BigInt.asIntN(32, value)));
  else if (width === 16) tlb.store16(address, Number(BigInt.asUintN(16, value)));
  else tlb.store8(address, Number(BigInt.asUintN(8, value)));
}

describe.each([
  ['in the lowest 2 GiB', AT],
  ['across 4 GiB', 4 * GiB - 4 * PAGE_SIZE],
  ['near the end of user space', 0x7fff_0000_0000],
])('loads and stores of every width, %s', (_, at) => {
  it.each([false, true])('are those of the bytes; inside: %s', (isInside) => {
    const access = fc.record({
      width: fc.constantFrom<Width>(8, 16, 32, 64),
      offset: fc.oneof(
        fc.nat(8 * PAGE_SIZE - 8),
        fc.tuple(fc.nat(6), fc.integer({ min: -8, max: 8 })).map(([page, by]) => {
          return (page + 1) * PAGE_SIZE + by;
        }),
      ),
      value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      isStore: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(access, { minLength: 20, maxLength: 60 }), (accesses) => {
        const { mm, tlb } = fixture(8, at);
        const model = new DataView(new ArrayBuffer(8 * PAGE_SIZE));
        const run = (): void => {
          for (const { width, offset, value, isStore } of accesses) {
            if (isStore) {
              for (let byte = 0; byte < width / 8; byte++) {
                model.setUint8(offset + byte, Number((value >> BigInt(8 * byte)) & 0xffn));
              }
              store(tlb, width, at + offset, value);
            }
            let expected = 0n;
            for (let byte = width / 8 - 1; byte >= 0; byte--) {
              expected = (expected << 8n) | BigInt(model.getUint8(offset + byte));
            }
            expect(load(tlb, width, at + offset)).toBe(expected);
          }
        };
        if (isInside) mm.inside(run);
        else run();
        const found = readBytes(mm, at, 8 * PAGE_SIZE);
        expect(Buffer.compare(found, new Uint8Array(model.buffer))).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it('have a sign where the name says so', () => {
    const { mm, tlb } = fixture(1, at);
    mm.inside(() => {
      for (let turn = 0; turn < 3; turn++) {
        tlb.store64Words(at + 8, -1, 0x7fff_ffff);
        expect([tlb.load8s(at + 8), tlb.load16s(at + 8), tlb.load32(at + 8)]).toEqual([-1, -1, -1]);
        expect([tlb.load8(at + 8), tlb.load16(at + 8)]).toEqual([255, 65_535]);
        const words = new Int32Array(2);
        tlb.load64Words(at + 8, words);
        expect([...words]).toEqual([-1, 0x7fff_ffff]);
      }
    });
  });
});

const OTHER = AT + 4 * PAGE_SIZE;

type Taker = (mm: AddressSpace, machine: Machine) => unknown;
/** Calls that take translations of the page at AT away, and what the page holds afterwards. */
const TAKERS: readonly (readonly [name: string, take: Taker, holds: 'the same' | 'zeros'])[] = [
  ['fork', (mm) => mm.fork(), 'the same'],
  ['pageout', (mm) => mm.madvise(AT, PAGE_SIZE, 'pageout'), 'the same'],
  ['dontneed', (mm) => mm.madvise(AT, PAGE_SIZE, 'dontneed'), 'zeros'],
  [
    'munmap and mmap',
    (mm) => {
      mm.munmap(AT, PAGE_SIZE);
      mm.mmap({ ...ANON, address: AT, length: PAGE_SIZE });
    },
    'zeros',
  ],
  [
    'mprotect there and back',
    (mm) => {
      mm.mprotect(AT, PAGE_SIZE, 'r');
      mm.mprotect(AT, PAGE_SIZE, 'rw');
    },
    'the same',
  ],
  ['free', (mm) => mm.madvise(AT, PAGE_SIZE, 'free'), 'the same'],
  ['reclaim', (_, machine) => machine.reclaim(64), 'the same'],
  [
    'mergePages',
    (mm, machine) => {
      mm.madvise(AT, 8 * PAGE_SIZE, 'mergeable');
      mm.write(OTHER, readBytes(mm, AT, PAGE_SIZE));
      machine.mergePages();
    },
    'the same',
  ],
];

describe('what takes a translation away', () => {
  it.each(TAKERS)('%s: the next store reaches the page that is there then', (_, take, holds) => {
    const { machine, mm, tlb } = fixture();
    mm.inside(() => {
      for (let turn = 0; turn < 3; turn++) {
        tlb.store32(AT + 12, 41); // a hit from the second one on
        tlb.store32(AT, turn);
        const epoch = mm.epoch();
        const other = take(mm, machine);
        expect(mm.epoch()).not.toBe(epoch);
        expect(tlb.load32(AT)).toBe(holds === 'zeros' ? 0 : turn);
        const before = wordAt(mm, OTHER);
        tlb.store32(AT, 100 + turn);
        expect(wordAt(mm, AT)).toBe(100 + turn);
        expect(wordAt(mm, OTHER)).toBe(before);
        expect(readPte(mm, AT).low & PTE.DIRTY).not.toBe(0);
        if (other !== null && typeof other === 'object') {
          expect(wordAt(other as AddressSpace, AT)).toBe(turn);
        }
      }
    });
  });

  it('a translation for reading is gone when another page is shown after copy-on-write', () => {
    const { mm, tlb } = fixture();
    const cpu = createTlb(mm);
    mm.inside(() => {
      expect([tlb.load32(AT), tlb.load32(AT), cpu.load32(AT), cpu.load32(AT)]).toEqual([
        0, 0, 0, 0,
      ]);
      tlb.store32(AT, 7); // the zero page gives way to a page of its own
      expect([tlb.load32(AT), cpu.load32(AT), wordAt(mm, AT)]).toEqual([7, 7, 7]);
    });
  });

  it('an unmapped page and a page that may not be written fault, with address and reason', () => {
    const { mm, tlb } = fixture(2);
    mm.inside(() => {
      tlb.store32(AT, 1);
      mm.mprotect(AT, PAGE_SIZE, 'r');
      expect(tlb.load32(AT)).toBe(1);
      expect(() => tlb.store32(AT, 2)).toThrow(
        expect.objectContaining({
          code: 'SIGSEGV',
          fields: expect.objectContaining({ address: AT }),
        }),
      );
      mm.munmap(AT, PAGE_SIZE);
      expect(codeOf(() => tlb.load32(AT))).toBe('SIGSEGV');
      expect(codeOf(() => tlb.load32(AT - 0.5))).toBe('EINVAL');
      expect(codeOf(() => tlb.load32('1' as unknown as number))).toBe('OPTION_INVALID');
    });
  });

  it('a store across two pages stores nothing if one of them faults', () => {
    const { mm, tlb } = fixture(2);
    mm.inside(() => {
      tlb.store32(AT + PAGE_SIZE - 4, -1);
      mm.mprotect(AT + PAGE_SIZE, PAGE_SIZE, 'r');
      expect(codeOf(() => tlb.store32(AT + PAGE_SIZE - 2, 0))).toBe('SIGSEGV');
      expect(tlb.load32(AT + PAGE_SIZE - 4)).toBe(-1);
    });
  });

  it('exit: every access is MM_GONE', () => {
    const { mm, tlb } = fixture();
    mm.inside(() => {
      tlb.store32(AT, 1);
      mm.exit();
      expect(codeOf(() => tlb.load32(AT))).toBe('MM_GONE');
    });
    expect(codeOf(() => tlb.store32(AT, 1))).toBe('MM_GONE');
  });

  it('a freeze: an access is EAGAIN where the thread must not wait', async () => {
    const { machine, mm, tlb } = fixture();
    mm.inside(() => tlb.store32(AT, 1));
    const freeze = await machine.freeze();
    expect(codeOf(() => mm.inside(() => tlb.store32(AT, 2)))).toBe('EAGAIN');
    expect(codeOf(() => tlb.load32(AT))).toBe('EAGAIN');
    freeze.thaw();
    expect(tlb.load32(AT)).toBe(1);
  });

  it('the end of the machine: MACHINE_CLOSED', async () => {
    const { machine, mm, tlb } = fixture();
    mm.inside(() => tlb.store32(AT, 1));
    await machine.close();
    expect(codeOf(() => mm.inside(() => tlb.load32(AT)))).toBe('MACHINE_CLOSED');
  });
});

describe('several that use translations in one thread', () => {
  it('two address spaces in turn, one inside the other', () => {
    const { machine, mm, tlb } = fixture();
    const child = mm.fork();
    const other = createTlb(child);
    mm.inside(() => {
      child.inside(() => {
        for (let turn = 0; turn < 200; turn++) {
          tlb.store32(AT, turn);
          other.store32(AT, ~turn);
          expect([tlb.load32(AT), other.load32(AT)]).toEqual([turn, ~turn]);
        }
      });
      expect(tlb.load32(AT)).toBe(199);
    });
    expect([wordAt(mm, AT), wordAt(child, AT)]).toEqual([199, ~199]);
    expect(machine.createAddressSpace()).toBeDefined(); // nothing is held any more
  });

  it('two objects for one address space, attached in the same thread', () => {
    const { mm, tlb } = fixture();
    const twin = attach(mm.handle, { mayBlock: false });
    const other = createTlb(twin);
    mm.inside(() => {
      tlb.store32(AT, 5);
      expect(other.load32(AT)).toBe(5);
      twin.munmap(AT, PAGE_SIZE);
      expect(codeOf(() => tlb.store32(AT, 6))).toBe('SIGSEGV');
    });
  });
});

describe('translate', () => {
  it('says where an address lies, until the epoch moves on', () => {
    const { mm } = fixture();
    mm.inside(() => {
      const found = mm.translate(AT + 8, 'write');
      expect(found.epoch).toBe(mm.epoch());
      expect(found.end).toBe(AT + PAGE_SIZE);
      found.words[found.offset / 4] = 77;
      found.bytes[found.offset + 4] = 1;
      expect([wordAt(mm, AT + 8), wordAt(mm, AT + 12)]).toEqual([77, 1]);
      mm.translate(AT, 'read');
      expect(mm.epoch()).toBe(found.epoch);
      mm.fork();
      expect(mm.epoch()).not.toBe(found.epoch);
    });
  });

  it('is refused outside of `inside`, where the epoch is that of no translation', () => {
    const { mm } = fixture();
    expect(codeOf(() => mm.translate(AT, 'read'))).toBe('EINVAL');
    expect(mm.epoch()).toBeNaN();
    expect(codeOf(() => mm.inside(undefined as never))).toBe('OPTION_INVALID');
    expect(codeOf(() => mm.inside(() => mm.translate(AT, 'x' as never)))).toBe('OPTION_INVALID');
  });

  it('of a page that may not be executed is SIGSEGV', () => {
    const { mm } = fixture();
    mm.inside(() => {
      expect(codeOf(() => mm.translate(AT, 'execute'))).toBe('SIGSEGV');
      mm.mprotect(AT, PAGE_SIZE, 'rx');
      expect(mm.translate(AT, 'execute').end).toBe(AT + PAGE_SIZE);
    });
  });
});

describe('adopted memory', () => {
  it('is loaded and stored in place', () => {
    const ram = new SharedArrayBuffer(32 * PAGE_SIZE);
    const mm = testMachine({ memory: 2 * MiB, banks: [ram] }).createAddressSpace();
    mm.mapFrames({ length: ram.byteLength, prot: 'rw', address: AT });
    mm.mmap({ ...ANON, address: AT + MiB, length: MiB });
    const tlb = createTlb(mm);
    const words = new Int32Array(ram);
    mm.inside(() => {
      for (let at = 0; at < ram.byteLength; at += 1028) {
        tlb.store32(AT + at, at);
        tlb.store32(AT + MiB + at, ~at); // in another bank
        expect(words[at / 4]).toBe(at);
        expect([tlb.load32(AT + at), tlb.load32(AT + MiB + at)]).toEqual([at, ~at]);
      }
    });
  });
});
