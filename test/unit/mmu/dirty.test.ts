/** Dirty pages by Linux's rules: what is listed after which call, and what is clean again. */
import { describe, expect, it } from 'vitest';
import { dirtyInstant, dirtySince, takeSince } from '../../../src/mmu/calls/dirty.ts';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { runOn } from '../../../src/mmu/machine/enter.ts';
import { GiB, MiB, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';
import { codeOf, testMachine } from '../../support/machine/machine.ts';

const BASE = 0x10_0000;

function space(options: Parameters<typeof testMachine>[0] = {}): AddressSpace {
  return testMachine({ zeroPage: true, ...options }).createAddressSpace();
}

function mapped(mm: AddressSpace, pages = 16, at = BASE): number {
  return mm.mmap({
    length: pages * PAGE_SIZE,
    prot: 'rw',
    flags: ['private', 'anonymous', 'fixed_noreplace'],
    address: at,
  });
}

/** The dirty pages by their numbers from BASE on. */
function pagesOf(mm: AddressSpace): number[] {
  return mm.dirty.take().flatMap(({ start, end }) => {
    const first = (start - BASE) / PAGE_SIZE;
    return Array.from({ length: (end - start) / PAGE_SIZE }, (_, page) => first + page);
  });
}

const at = (page: number): number => BASE + page * PAGE_SIZE;

describe('dirty pages', () => {
  it('are all pages of a new mapping, then those that were written', () => {
    const mm = space();
    mapped(mm, 4);
    expect(pagesOf(mm)).toEqual([0, 1, 2, 3]);
    expect(pagesOf(mm)).toEqual([]);
    mm.fill(at(1) + 5, PAGE_SIZE, 1);
    mm.read(at(3), new Uint8Array(1));
    expect(pagesOf(mm)).toEqual([1, 2]);
    expect(pagesOf(mm)).toEqual([]);
    mm.fill(at(2), 1, 9); // writable and dirty already: no fault tells
    expect(pagesOf(mm)).toEqual([2]);
  });

  it('survive swap, protection and a split of a huge page, and do not come from them', () => {
    const mm = space({ swap: 4 * MiB, memory: 32 * MiB });
    const huge = 2 * MiB;
    mm.mmap({ length: huge, prot: 'rw', flags: ['private', 'anonymous', 'fixed'], address: huge });
    mm.madvise(huge, huge, 'hugepage');
    mapped(mm, 4);
    mm.fill(at(0), 2 * PAGE_SIZE, 1);
    mm.fill(huge, huge, 1);
    mm.dirty.start();
    mm.fill(at(1), 1, 2);
    mm.madvise(at(0), 4 * PAGE_SIZE, 'pageout');
    mm.read(at(0), new Uint8Array(1));
    mm.read(at(1), new Uint8Array(1));
    mm.mprotect(at(0), 4 * PAGE_SIZE, 'r');
    expect(pagesOf(mm)).toEqual([1]);
    mm.fill(huge + PAGE_SIZE, 1, 3);
    expect(mm.dirty.take()).toEqual([{ start: huge, end: 2 * huge }]); // one entry for 2 MiB
    mm.munmap(huge + PAGE_SIZE, PAGE_SIZE);
    mm.fill(huge + 3 * PAGE_SIZE, 1, 3);
    const dirty = { start: huge + 3 * PAGE_SIZE, end: huge + 4 * PAGE_SIZE };
    expect(mm.dirty.take()).toEqual([dirty]);
  });

  it('go with mremap and fork as in Linux', () => {
    const mm = space();
    mapped(mm, 8);
    mm.fill(at(0), 4 * PAGE_SIZE, 1);
    mm.dirty.start();
    mm.fill(at(1), 1, 2);
    const child = mm.fork();
    expect(pagesOf(child)).toEqual([1]);
    expect(pagesOf(mm)).toEqual([1]);
    // The moved pages are dirty. The others were never there.
    mm.mremap(at(0), 6 * PAGE_SIZE, 6 * PAGE_SIZE, ['maymove', 'fixed'], at(20));
    expect(pagesOf(mm)).toEqual([20, 21, 22, 23]);
    mm.mremap(at(20), 6 * PAGE_SIZE, 7 * PAGE_SIZE, []);
    expect(pagesOf(mm)).toEqual([]);
    mapped(child, 1, at(8)); // does not merge: the child's anon_vma is inherited
    expect(pagesOf(child)).toEqual([8]);
  });

  it('are all pages of two mappings that have become one, if one of them is new', () => {
    const mm = space();
    mapped(mm, 2);
    mm.dirty.start();
    mapped(mm, 1, at(2));
    expect(mm.vmas()).toHaveLength(1);
    expect(pagesOf(mm)).toEqual([0, 1, 2]);
    mm.munmap(at(1), PAGE_SIZE);
    expect(pagesOf(mm)).toEqual([]);
  });

  it('are marked by those who write frames themselves', () => {
    const mm = space();
    mapped(mm, 4);
    mm.fill(at(0), 2 * PAGE_SIZE, 1);
    mm.dirty.start();
    mm.dirty.mark(at(0) + PAGE_SIZE - 1, 2);
    mm.dirty.mark(at(3), 1); // has no frame
    mm.dirty.mark(at(3), 0);
    expect(pagesOf(mm)).toEqual([0, 1]);
    expect(codeOf(() => mm.dirty.mark(at(4), 1))).toBe('ENOMEM');
    expect(codeOf(() => mm.dirty.mark(0.5, 1))).toBe('EINVAL');
    expect(codeOf(() => mm.dirty.mark('x' as never, 1))).toBe('OPTION_INVALID');
  });

  it('have twins that wait, and end with the mm', async () => {
    const mm = space();
    mapped(mm, 2);
    await mm.dirty.startAsync();
    mm.fill(at(0), 2 * PAGE_SIZE, 1);
    expect(await mm.dirty.takeAsync()).toEqual([{ start: at(0), end: at(2) }]);
    await mm.dirty.markAsync(at(1), 1);
    expect(pagesOf(mm)).toEqual([1]);
    const { dirty } = mm;
    mm.exit();
    expect(codeOf(() => dirty.take())).toBe('MM_GONE');
  });

  it('are known since an instant until somebody takes them', () => {
    const mm = space();
    mapped(mm, 2);
    mm.fill(at(0), 2 * PAGE_SIZE, 1);
    mm.dirty.start();
    const look = (instant: number): unknown =>
      runOn(mm.mm, mm.reference, 'write', (held) => dirtySince(held, instant));
    const take = (instant: number): unknown =>
      runOn(mm.mm, mm.reference, 'write', (held) => takeSince(held, instant));
    const instant = dirtyInstant(mm.mm);
    mm.fill(at(1), 1, 2);
    const found = Float64Array.of(vpnOf(at(1)), vpnOf(at(2)));
    expect(look(instant)).toEqual(found);
    expect(look(instant)).toEqual(found); // nothing is cleared
    expect(mm.dirty.take()).toEqual([{ start: at(1), end: at(2) }]);
    expect(look(instant)).toBeUndefined();
    expect(look(dirtyInstant(mm.mm))).toEqual(new Float64Array());
    mm.fill(at(1), 1, 2);
    expect(take(dirtyInstant(mm.mm))).toEqual(found);
    expect(take(dirtyInstant(mm.mm))).toEqual(new Float64Array());
    expect(take(instant)).toBeUndefined();
    expect(mm.dirty.take()).toEqual([]);
  });
});

describe('dirty pages of adopted memory', () => {
  const pages = 4;
  const memory = new SharedArrayBuffer(pages * PAGE_SIZE);

  it('are those that the owner has marked', () => {
    const dirty = new Uint8Array(new SharedArrayBuffer(pages));
    const machine = testMachine({ banks: [{ memory, dirty }, new SharedArrayBuffer(PAGE_SIZE)] });
    const mm = machine.createAddressSpace();
    const length = pages * PAGE_SIZE;
    mm.mapFrames({ length, prot: 'rw', address: BASE, flags: ['fixed'] });
    mm.mapFrames({ length: PAGE_SIZE, prot: 'rw', bank: 1, address: at(8), flags: ['fixed'] });
    mm.dirty.start();
    const since = dirtyInstant(mm.mm);
    dirty[2] = 1;
    mm.fill(at(0), 1, 1);
    const unknown = runOn(mm.mm, mm.reference, 'write', (held) => dirtySince(held, since));
    const first = vpnOf(BASE);
    expect([...unknown!].map((vpn) => vpn - first)).toEqual([0, 1, 2, 3, 8, 9]);
    expect(dirty[2]).toBe(1);
    expect(pagesOf(mm)).toEqual([0, 2]);
    expect([...dirty]).toEqual([0, 0, 0, 0]);
    expect(pagesOf(mm)).toEqual([]);
    // A page that is mapped twice stays marked, so that the other mapping learns of it, too.
    const other = machine.createAddressSpace();
    other.mapFrames({ length, prot: 'rw', address: BASE, flags: ['fixed'] });
    other.dirty.start();
    dirty[1] = 1;
    expect(pagesOf(mm)).toEqual([1]);
    expect(pagesOf(other)).toEqual([1]);
    expect(dirty[1]).toBe(1);
  });

  it('refuse marks that do not fit', () => {
    const marks = (length: number): Uint8Array => new Uint8Array(new SharedArrayBuffer(length));
    const make = (bank: unknown): string => codeOf(() => testMachine({ banks: [bank as never] }));
    expect(make({ memory, dirty: marks(3) })).toBe('OPTION_INVALID');
    expect(make({ memory, dirty: new Uint8Array(4) })).toBe('OPTION_INVALID');
    expect(make({ memory, dirty: marks(4), other: 1 })).toBe('OPTION_INVALID');
    expect(make({ memory: new ArrayBuffer(4095), dirty: marks(1) })).toBe('OPTION_INVALID');
    expect(make({ memory, dirty: marks(4) })).toBe('nothing');
  });
});

it('takes a reserved gigabyte as one range', () => {
  const mm = space();
  mm.mmap({ length: GiB, prot: 'rw', flags: ['private', 'anonymous'] });
  expect(mm.dirty.take()).toHaveLength(1);
});
