import { describe, expect, it } from 'vitest';
import { toScanned } from '../../../src/main/import/process-mappings.ts';
import { isEmpty, type ScanResult } from '../../../src/main/import/scan-phase.ts';
import type { SmapsTotals, SmapsVma } from '../../../src/main/import/smaps.ts';
import { compareWithSmaps } from '../../../src/main/import/smaps-check.ts';
import { SCAN_ASK, SCAN_KIND, SCAN_VMA, ScanVmas } from '../../../src/shared/dump/scan-table.ts';
import { GiB } from '../../../src/shared/page.ts';

const NONE: SmapsTotals = { rss: 0, anonymous: 0, swap: 0, ksm: 0, anonHugePages: 0 };

function smaps(totals: Partial<SmapsTotals>): SmapsVma[] {
  const vma = { start: 0x1000, end: 0x5000, flags: 0, totals: { ...NONE, ...totals } };
  return [vma as unknown as SmapsVma];
}

/** A scan that found this number of resident pages in the mapping. */
function scan(kind: number, rss: number): ScanResult {
  const vmas = new ScanVmas(ScanVmas.create([{ start: 1, end: 5, kind, flags: 0, ask: 0 }]));
  vmas.addTotal(0, SCAN_VMA.RSS, rss);
  return { runs: [], vmas, frames: new Float64Array(), framesShown: true };
}

describe('the check against smaps', () => {
  it('says which total of which mapping differs', () => {
    expect(compareWithSmaps(smaps({ rss: 8 }), scan(SCAN_KIND.ANONYMOUS, 2)).size).toBe(0);
    const differences = compareWithSmaps(smaps({ rss: 12 }), scan(SCAN_KIND.ANONYMOUS, 2));
    expect([...differences.values()]).toEqual(['0x1000-0x5000 rss: 8 kB found, smaps says 12']);
  });

  it('asks no page map for the swapped pages of a file in memory', () => {
    const swapped = smaps({ swap: 4 });
    expect(compareWithSmaps(swapped, scan(SCAN_KIND.UNREACHABLE_FILE, 0)).size).toBe(0);
    expect(compareWithSmaps(swapped, scan(SCAN_KIND.ANONYMOUS, 0)).size).toBe(1);
  });

  it('compares no merged pages with a kernel that does not count them', () => {
    const found = scan(SCAN_KIND.ANONYMOUS, 2);
    found.vmas.addTotal(0, SCAN_VMA.KSM, 1);
    expect(compareWithSmaps(smaps({ rss: 8, ksm: null }), found).size).toBe(0);
    expect(compareWithSmaps(smaps({ rss: 8, ksm: 0 }), found).size).toBe(1);
  });
});

describe('a mapping that smaps says is empty', () => {
  const isSkipped = (totals: Partial<SmapsTotals>, bytes = 20 * GiB): boolean => {
    const [vma] = smaps(totals);
    return isEmpty({ ...vma!, end: vma!.start + bytes });
  };

  it('is not scanned if it is large', () => {
    expect(isSkipped({})).toBe(true);
    expect(isSkipped({}, GiB)).toBe(false);
    expect(isSkipped({ rss: 4 })).toBe(false);
    expect(isSkipped({ swap: 4 })).toBe(false);
  });

  it('trial 13: is scanned where the kernel does not count what is in it', () => {
    expect(isSkipped({ rss: null })).toBe(false);
    expect(isSkipped({ swap: null })).toBe(false);
  });
});

describe('what the scan asks about frames', () => {
  const asked = (totals: Partial<SmapsTotals>): number => {
    const [vma] = smaps(totals);
    return toScanned({ smaps: vma!, file: null, isVdso: false }).ask;
  };

  it('is nothing where smaps says that there is nothing to find', () => {
    expect(asked({ rss: 8 })).toBe(0);
    expect(asked({ ksm: 4 })).toBe(SCAN_ASK.MERGED);
    expect(asked({ ksm: null })).toBe(SCAN_ASK.MERGED);
    expect(asked({ anonHugePages: 2048 })).toBe(SCAN_ASK.HUGE);
    expect(asked({ anonHugePages: null })).toBe(SCAN_ASK.HUGE);
  });
});
