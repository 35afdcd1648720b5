/** Finds what several processes share from their scans: runs, frames and mappings made by hand. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ProcessVma } from '../../../src/main/import/process-mappings.ts';
import type { ScannedRun, ScanResult } from '../../../src/main/import/scan-phase.ts';
import {
  type FamilyMember,
  findShared,
  forgetMovedFrames,
} from '../../../src/main/import/shared-frames.ts';
import { SCAN_RUN_KIND } from '../../../src/shared/dump/scan-table.ts';
import { GRANULE_PAGES, PAGE_SIZE } from '../../../src/shared/page.ts';

const { CONTENT, HUGE, ZERO_PAGE } = SCAN_RUN_KIND;
const BASE = 100 * GRANULE_PAGES;

const ANONYMOUS = { smaps: { start: BASE * PAGE_SIZE, pgoff: 0, flags: 0 }, file: null };

/** A run whose pages show these frames; without frames, its pages belong to the process alone. */
function run(start: number, frames: readonly number[] | null, more: Partial<ScannedRun> = {}) {
  const pages = frames?.length ?? 1;
  return { run: { vma: 0, start, pages, kind: CONTENT, writable: false, pfn: 0, ...more }, frames };
}

function member(
  pid: number,
  runs: readonly ReturnType<typeof run>[],
  vma: object = ANONYMOUS,
): FamilyMember {
  const all: number[] = [];
  const scanned = runs.map(({ run: made, frames }): ScannedRun => {
    const at = frames === null ? -1 : all.length;
    all.push(...(frames ?? []));
    return { frames: at, ...made };
  });
  const scan = { runs: scanned, frames: Float64Array.from(all) } as unknown as ScanResult;
  return { pid, vmas: [vma as ProcessVma], scan };
}

/** `start+pages` of what is loaded, `start+pages<donor` of what is shared. */
function picture(members: readonly FamilyMember[]): string[] {
  return findShared(members).map(({ runs, shared }) => {
    const own = runs.map(({ start, pages, kind }) => {
      return [start, `${start - BASE}+${pages}${kind === HUGE ? 'H' : ''}`] as const;
    });
    const others = shared.map(({ start, pages, donor, isHuge }) => {
      return [start, `${start - BASE}+${pages}<${donor}${isHuge ? 'H' : ''}`] as const;
    });
    const sorted = [...own, ...others].sort(([a], [b]) => a - b);
    return sorted.map(([, text]) => text).join(' ');
  });
}

function numbers(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

describe('what processes share', () => {
  it('is the same frame or swap slot at the same page, of the first that shows it', () => {
    const members = [
      member(1, [run(BASE, [11, 12, 13, 14, -15]), run(BASE + 9, [19])]),
      member(2, [run(BASE, [11, 99, 13, 14, -15]), run(BASE + 8, [19, 18])]),
      member(3, [run(BASE, [11, 99, 7, 14, -15])]),
    ];
    expect(picture(members)).toEqual(['0+5 9+1', '0+1<0 1+1 2+3<0 8+2', '0+1<0 1+1<1 2+1 3+2<0']);
  });

  it('is nothing where frames are unknown, or no pages of content', () => {
    const members = [
      member(1, [run(BASE, [0]), run(BASE + 1, null, { kind: ZERO_PAGE, pfn: 5 })]),
      member(2, [run(BASE, [0]), run(BASE + 1, null, { kind: ZERO_PAGE, pfn: 5 })]),
    ];
    expect(picture(members)).toEqual(['0+1 1+1', '0+1 1+1']);
  });

  it('is cut where granules end; a 2 MiB leaf stays one only as a whole', () => {
    const frames = numbers(1000, 2 * GRANULE_PAGES);
    const huge = frames.slice(GRANULE_PAGES);
    const isHuge = { kind: HUGE };
    const changed = [...huge.slice(0, 100), 1, ...huge.slice(101)];
    const long = run(BASE, frames);
    const members = [
      member(1, [long]),
      member(2, [long]),
      member(3, [run(BASE + GRANULE_PAGES, huge, isHuge)]),
      member(4, [run(BASE + GRANULE_PAGES, changed, isHuge)]),
      member(5, [run(BASE + GRANULE_PAGES, numbers(9000, GRANULE_PAGES), isHuge)]),
    ];
    expect(picture(members)).toEqual([
      '0+1024',
      '0+512<0 512+512<0',
      '512+512<0H',
      '512+100<0 612+1 613+411<0',
      '512+512H',
    ]);
  });

  it('is nothing where the page struct could not be right for both', () => {
    const file = {};
    const at = (pgoff: number): object => ({
      smaps: { start: BASE * PAGE_SIZE, pgoff, flags: 0 },
      file,
    });
    const one = [run(BASE, [11])];
    expect(picture([member(1, one, at(0)), member(2, one, at(1))])).toEqual(['0+1', '0+1']);
    expect(picture([member(1, one, at(3)), member(2, one, at(3))])).toEqual(['0+1', '0+1<0']);
  });

  it('cannot be an address space: OPTION_INVALID', () => {
    const own = (pfn: number): ReturnType<typeof run>[] => [
      run(BASE, null, { writable: true, pfn }),
    ];
    const [one, same, other] = [member(1, own(7)), member(2, own(7)), member(3, own(8))];
    expect(() => findShared([one, same])).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', fields: { pid: 2 } }),
    );
    expect(picture([one, other])).toEqual(['0+1', '0+1']);
  });

  it('is not what moved between two looks at the page map', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mmdump-frames-'));
    const entries = new BigUint64Array(8);
    const present = 1n << 63n;
    const swapped = 1n << 62n;
    entries.set([present | 11n, present | 12n, swapped | 20n, present | 20n, 0n], 2);
    const path = join(folder, 'pagemap');
    writeFileSync(path, new Uint8Array(entries.buffer));
    const fd = openSync(path, 'r');
    try {
      const { scan } = member(1, [run(2, [11, 99, -21, -21, 15]), run(7, [3, 4])]);
      forgetMovedFrames(fd, 1, scan);
      expect([...scan.frames]).toEqual([11, 0, -21, 0, 0, 0, 0]);
    } finally {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    }
  });
});
