/** What is known about the processes of an import, and what it reports about each. */
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import type { Yielder } from '../job/stop.ts';
import type { UnmappedPages } from './file-contents.ts';
import type { ProcessReport } from './import-report.ts';
import type { MappedFile } from './mapped-files.ts';
import type { ShownRun } from './placed-pages.ts';
import type { ProcessVma } from './process-mappings.ts';
import { foreignFiles, type ReadableFile, unreadableFiles } from './readable-files.ts';
import type { ScanResult } from './scan-phase.ts';
import type { MemberPages } from './shared-frames.ts';
import { readSmaps, type SmapsVma } from './smaps.ts';
import { compareWithSmaps } from './smaps-check.ts';

export type CaptureReport = Omit<ProcessReport, 'ms'> & { ms: { scan: number; load: number } };

/** A report without what is known about the stop. */
type FoundReport = Omit<CaptureReport, 'stoppedBy' | 'notTraced' | 'registers'>;

/** What is known about a process before a page of it is read. */
export interface Survey {
  readonly pid: number;
  readonly smaps: readonly SmapsVma[];
  readonly vmas: readonly ProcessVma[];
  readonly scan: ScanResult;
  readonly ms: number;
}

/** What is known about all processes of an import. */
export interface FamilySurvey {
  readonly members: readonly Survey[];
  /** The pages that each process loads itself, and those that it shares with earlier ones. */
  readonly pages: readonly MemberPages[];
  readonly readable: ReadonlyMap<MappedFile, ReadableFile>;
  readonly unmapped: readonly UnmappedPages[];
  /** Where pages of files stay that processes map; empty unless pages are loaded on demand. */
  readonly placed: ReadonlyMap<MappedFile, readonly ShownRun[]>;
  /** The most frames that the pages and page tables of all processes take. */
  readonly frames: number;
  /** Pages that show the zero page. Each takes a frame in a machine that has no zero page. */
  readonly zeroPages: number;
}

/**
 * Returns the report about the process with the ordinal `at`. `isPrivileged` says that the process
 * stood still and that the flags of its frames could be read.
 */
export async function reportOf(
  { members, pages, readable }: FamilySurvey,
  at: number,
  found: { readonly unmappedPages: number; readonly loadMs: number },
  isPrivileged: boolean,
  yielder: Yielder,
): Promise<FoundReport> {
  const survey = members[at]!;
  const { pid, vmas, scan, ms } = survey;
  const sharingKnown = isPrivileged && scan.framesShown;
  return {
    pid,
    vmas: vmas.length,
    ...countKinds(scan),
    sharedPages: pages[at]!.shared.reduce((sum, run) => sum + run.pages, 0),
    unmappedPages: found.unmappedPages,
    unreadableFiles: unreadableFiles(vmas, readable),
    foreignFiles: foreignFiles(vmas),
    sharingKnown,
    smapsDifferences: sharingKnown ? await smapsDifferences(survey, yielder) : null,
    ms: { scan: ms, load: found.loadMs },
  };
}

/**
 * Returns what differs from both readings of smaps, the one before the scan and one made now. The
 * kernel may swap, merge or collapse pages of a process that stands still, which changes totals but
 * no content.
 */
async function smapsDifferences(
  { pid, smaps, scan }: Survey,
  yielder: Yielder,
): Promise<readonly string[]> {
  const before = compareWithSmaps(smaps, scan);
  if (before.size === 0) return [];
  const now = compareWithSmaps(await readSmaps(pid, yielder), scan);
  return [...before].filter(([total]) => now.has(total)).map(([, line]) => line);
}

/** Counts the pages of a scan by kind. */
export function countKinds(scan: ScanResult): {
  readonly contentPages: number;
  readonly zeroPages: number;
  readonly guardPages: number;
} {
  let contentPages = 0;
  let zeroPages = 0;
  let guardPages = 0;
  for (const { kind, pages } of scan.runs) {
    if (kind === SCAN_RUN_KIND.ZERO_PAGE) zeroPages += pages;
    else if (kind === SCAN_RUN_KIND.GUARD) guardPages += pages;
    else contentPages += pages;
  }
  return { contentPages, zeroPages, guardPages };
}
