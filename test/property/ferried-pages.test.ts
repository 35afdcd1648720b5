/**
 * Invariants checked: whatever units are begun, fetched and guessed ahead, in any order, the page
 * that stands for a frame has the bytes that the frame had when the unit was fetched · sources are
 * replaced for unshared frames only, whether they were fetched before or not · a load never crosses
 * the border of a bank · what a worker stores arrives, and nothing else changes
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Mm, mmOf } from '../../src/mmu/mm/mm.ts';
import { carryLoad } from '../../src/mmu/physical/carry.ts';
import { BANK_FRAMES, PhysicalMemory } from '../../src/mmu/physical/physical-memory.ts';
import {
  BERTHS,
  berthsOf,
  berthWords,
  FERRY_LOAD,
  type FerryReach,
} from '../../src/shared/dump/ferry.ts';
import { PAGE_CLASS } from '../../src/shared/dump/page-class.ts';
import { GRANULE_PAGES, PAGE_SIZE } from '../../src/shared/page.ts';
import { Memory } from '../../src/shared/wasm.ts';
import { RunWriter } from '../../src/workers/classify/run-writer.ts';
import { FerriedFrames } from '../../src/workers/ferry/ferried-frames.ts';
import { FerriedPages } from '../../src/workers/ferry/ferried-pages.ts';
import { privateMemory } from '../support/machine/adopted.ts';
import { testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const UNITS = 4;
const START = 512 * 100;
const RAM = 64; // frames
const MAPPED = [3, 4, 5, 200, 511, 512, 700]; // pages of each unit that show RAM, some of them

/** A machine whose units of two granules show RAM here and there. */
function guest() {
  const memory = privateMemory((RAM * PAGE_SIZE) / 0x10000);
  const machine = testMachine({ banks: [new SharedArrayBuffer(PAGE_SIZE), memory] });
  const space = machine.createAddressSpace();
  const frames = new Map<number, number>(); // page -> frame of the RAM
  for (let unit = 0; unit < UNITS; unit++) {
    for (const [index, page] of MAPPED.entries()) {
      const vpn = START + unit * 2 * GRANULE_PAGES + page;
      const frame = (unit * 9 + (index < 3 ? index : index * 5)) % RAM;
      const where = { bank: 1, offset: frame * PAGE_SIZE, address: vpn * PAGE_SIZE };
      space.mapFrames({ ...where, length: PAGE_SIZE, prot: 'rw', flags: ['fixed'] });
      frames.set(vpn, frame);
    }
  }
  const mm: Mm = mmOf(space.reference.machine, space.reference.slot, 0);
  const first = machine.banks[1]!.pfn;
  return { memory, machine, mm, frames, first };
}

const unit = fc.integer({ min: 0, max: UNITS - 1 });
const step = fc.record({
  unit,
  guess: fc.option(unit),
  fetches: fc.boolean(),
  grows: fc.boolean(),
  value: fc.integer({ min: 1, max: 255 }),
});

describe('ferried pages', () => {
  it('have the bytes of their frames', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const { memory, mm, frames, first } = guest();
        const pages = 2 * GRANULE_PAGES;
        const ferried = FerriedPages.of(mm.machine, undefined, pages)!;
        const ram = (): Uint8Array => new Uint8Array(memory.buffer, 0, RAM * PAGE_SIZE);
        let value = 0;
        let isGuessed = false;
        for (const { unit, guess, fetches, grows, ...given } of steps) {
          if (!isGuessed) value = given.value; // what was asked for ahead is of an earlier moment
          isGuessed = guess !== null;
          for (let page = 0; page < RAM; page++) ram().fill(page ^ value, page * PAGE_SIZE);
          const start = START + unit * pages;
          ferried.begin(mm, start);
          if (grows) memory.grow(1);
          if (fetches) ferried.fetchUnit(mm, pages);
          if (guess !== null) ferried.askAhead(mm, START + guess * pages, pages);
          const found = new RunWriter(new Int32Array(64), new Int32Array(64));
          found.begin(start, 0);
          for (const page of MAPPED) {
            const vpn = start + page;
            const pfn = first + frames.get(vpn)!;
            expect(ferried.owns(pfn)).toBe(true);
            if (page !== 5) {
              const number = ferried.numberOf(vpn, pfn);
              expect(Buffer.compare(mm.memory.page(number), mm.memory.page(pfn))).toBe(0);
            }
            found.page(vpn, PAGE_CLASS.COPY, pfn);
            found.end(vpn + 1);
          }
          found.page(start + 900, PAGE_CLASS.COPY, 7);
          found.end(start + 901);
          ferried.place(found, 0);
          for (const [index, page] of MAPPED.entries()) {
            const frame = frames.get(start + page)!;
            const bytes = mm.memory.page(found.sources[index]!);
            expect([bytes[0], bytes[PAGE_SIZE - 1]]).toEqual([frame ^ value, frame ^ value]);
            expect(found.sources[index]).toBeGreaterThanOrEqual(mm.memory.frames);
          }
          expect(found.sources[MAPPED.length]).toBe(7);
        }
      }),
      { numRuns: IS_LONG ? 300 : 15 },
    );
  });

  it('are not made for a machine whose memory is all shared', () => {
    const machine = testMachine({ banks: [new SharedArrayBuffer(PAGE_SIZE)] });
    expect(FerriedPages.of(machine.parts, undefined, 1)).toBeUndefined();
  });
});

describe('ferried frames', () => {
  /** A worker's end whose loads are carried by hand, as another thread would. */
  function worker() {
    const { memory, machine } = guest();
    const pages = 4;
    const shared = new Memory({ initial: 1, maximum: 1, shared: true });
    const berths = new SharedArrayBuffer(berthWords(pages) * BERTHS * 4);
    const reach: FerryReach = { berths, bell: new SharedArrayBuffer(4), memory: shared, pages };
    const owner = berthsOf(berths, pages);
    const buffer = new Uint8Array(shared.buffer);
    return { memory, parts: machine.parts, reach, owner, buffer };
  }

  it('arrive, by turns in two berths, and nothing else changes', () => {
    const { memory, parts, reach, owner, buffer } = worker();
    const view = new PhysicalMemory({ ...parts.handle, unshared: undefined });
    const frames = new FerriedFrames({ ...parts, memory: view } as typeof parts, reach);
    const first = parts.adopted[1]!.pfn;
    view.page(frames.room()).fill(5);
    frames.store(first + 2, 1);
    expect(owner.map(({ isAsked }) => isAsked)).toEqual([false, true]);
    view.page(frames.room()).fill(6);
    frames.store(first + 9, 1);
    expect(owner.map(({ isAsked }) => isAsked)).toEqual([true, true]);
    expect(new Uint8Array(memory.buffer).every((byte) => byte === 0)).toBe(true);
    for (const berth of owner) {
      carryLoad(parts.memory, berth, buffer);
      berth.done(true);
    }
    frames.zero(first + 2, 1);
    const load = owner.find(({ isAsked }) => isAsked)!;
    expect(load.kind).toBe(FERRY_LOAD.ZERO);
    carryLoad(parts.memory, load, buffer);
    load.done(true);
    frames.finish();
    const changed = Array.from({ length: RAM }, (_, page) => {
      return new Uint8Array(memory.buffer)[page * PAGE_SIZE]!;
    });
    expect(changed.indexOf(6)).toBe(9);
    expect(changed.filter((byte) => byte !== 0)).toEqual([6]);
  });

  it('end with an error if their owner could not carry them', () => {
    const { parts, reach, owner } = worker();
    const frames = new FerriedFrames(parts, reach);
    frames.room();
    frames.store(parts.adopted[1]!.pfn, 1);
    owner.find(({ isAsked }) => isAsked)!.done(false);
    expect(() => frames.finish()).toThrow(/the pages of a bank did not arrive/);
  });

  it('are two runs on both sides of the border of a bank', () => {
    const { parts, reach, owner } = worker();
    const frames = new FerriedFrames(parts, reach);
    frames.room();
    frames.store(2 * BANK_FRAMES - 1, 3);
    const runs: number[][] = [];
    owner.find(({ isAsked }) => isAsked)!.each((...run) => runs.push(run));
    expect(runs).toEqual([
      [2 * BANK_FRAMES - 1, 4, 1],
      [2 * BANK_FRAMES, 5, 2],
    ]);
  });
});
