/** Formats the report of a dump, for people and for scripts. */

import { formatBytes, formatMs } from '../../shared/human-units.ts';
import { hasUsedNativeCalls } from '../../shared/native/library.ts';
import { hex } from '../../shared/page.ts';
import type { DumpEstimate, DumpReport, WorkerReport } from '../dump/report.ts';
import type { MemoryUsage } from '../image/memory-usage.ts';
import type { CoreReport } from '../import/core/core-report.ts';
import type { ProcessReport } from '../import/import-report.ts';
import type { Column } from './layout/fit-table.ts';
import type { Screen } from './layout/screen.ts';
import { table } from './terminal.ts';

const WORKER_COLUMNS: readonly Column[] = [
  { name: 'phase', kind: 'text' },
  ...['worker', 'units', 'pages', 'bytes', 'busy'].map(
    (name) => ({ name, kind: 'number' }) as const,
  ),
];

/** The object that `dump --json` prints; its keys are a contract. */
export function dumpJson(
  report: DumpReport | DumpEstimate,
  importMs: number,
  processes: readonly ProcessReport[],
  core?: CoreReport,
): unknown {
  const { image, workers, workersReason, frozen, mms, skipped, ms, bytesPerSecond } = report;
  return {
    image: image.id === '' ? { ...image, id: null } : image,
    workers,
    workersReason,
    frozen,
    mms: mms.map(({ source, vmas, pages, ldtEntries, rss, pss, unique }) => {
      return { source, vmas: vmas.length, pages, ldtEntries, rss, pss, unique };
    }),
    savedBytes: report.savedBytes,
    skipped: skipped.map(({ mm, start, end, reason }) => {
      return { mm, start: hex(start), end: hex(end), reason };
    }),
    warnings: report.warnings,
    import: importsJson(processes),
    core: core === undefined ? null : coreJson(core),
    native: hasUsedNativeCalls(),
    ms: roundAll({ import: importMs, ...ms, total: importMs + ms.total }),
    bytesPerSecond,
    perWorker: report.perWorker.map(roundWorker),
  };
}

/** Null without processes, an object for one, a list in the order of the mms for several. */
function importsJson(processes: readonly ProcessReport[]): unknown {
  const all = processes.map(importJson);
  return all.length > 1 ? all : (all[0] ?? null);
}

/** What is known, and what is not, about a process that was imported. */
function importJson(process: ProcessReport): unknown {
  const { pid, contentPages, zeroPages, guardPages, sharedPages, unmappedPages, ms } = process;
  const { unreadableFiles, foreignFiles, sharingKnown, smapsDifferences } = process;
  const { stoppedBy, notTraced, registers } = process;
  return {
    pid,
    contentPages,
    zeroPages,
    guardPages,
    sharedPages,
    unmappedPages,
    unreadableFiles,
    foreignFiles,
    sharingKnown,
    stoppedBy,
    notTraced,
    registers,
    smapsDifferences,
    ms: roundAll(ms),
  };
}

function coreJson({ ms, ...core }: CoreReport): unknown {
  return { ...core, ms: round(ms) };
}

/** What people should know about a core file that was imported. */
export function coreLines({ missingFiles, holesKnown }: CoreReport): string[] {
  const lines: string[] = [];
  if (missingFiles.length > 0) {
    lines.push(
      `${missingFiles.length} files that the core names are not at hand: their pages that the ` +
        'core lacks are unknown, and reading such a page fails',
    );
  }
  if (!holesKnown) lines.push('the holes of the core could not be found: all of it was read');
  return lines;
}

function importLines(process: ProcessReport): string[] {
  const { pid, sharedPages, unmappedPages, unreadableFiles, foreignFiles } = process;
  const lines: string[] = [];
  if (sharedPages > 0)
    lines.push(`pid ${pid}: ${sharedPages} pages shared with the processes before it`);
  if (unmappedPages > 0) {
    lines.push(`${unmappedPages} pages of memory-backed files that the process had not mapped`);
  }
  if (unreadableFiles.length > 0) {
    lines.push(
      `${unreadableFiles.length} memory-backed or deleted files could not be read: the image ` +
        'lacks their pages that the process had not mapped, and reading such a page fails',
    );
  }
  if (foreignFiles.length > 0) {
    lines.push(
      `${foreignFiles.length} files lie in mounts, or under a root directory, that only the ` +
        'process has: no path of this host leads to them, so the image holds what could be read',
    );
  }
  if (!process.sharingKnown) {
    lines.push(
      'not run as root: it is unknown which pages were shared, so every page has its own frame',
    );
  }
  return lines;
}

/** The bytes that an mm shows, its proportional share of them, and those that no other mm shows. */
export function usageText({ rss, pss, unique }: MemoryUsage): string {
  return (
    `${formatBytes(rss)} resident, ${formatBytes(pss)} as proportional share, ` +
    `${formatBytes(unique)} unique`
  );
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function roundAll(values: { readonly [name: string]: number }): { [name: string]: number } {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, round(value)]));
}

function roundWorker(worker: WorkerReport): unknown {
  return { ...worker, busyMs: round(worker.busyMs), startMs: round(worker.startMs) };
}

function parentText(pages: number): string {
  return pages === 0 ? '' : `${pages} in the parent, `;
}

function partsText(parts: number | undefined): string {
  if (parts === undefined) return '';
  return parts === 1 ? ' in 1 part' : ` in ${parts} parts`;
}

export function dumpText(
  report: DumpReport | DumpEstimate,
  importMs: number,
  processes: readonly ProcessReport[],
  output: string,
  core?: CoreReport,
  screen?: Screen,
): string {
  const { image, mms, skipped, ms } = report;
  const lines = [...new Set(processes.flatMap(importLines))];
  if (core !== undefined) lines.push(...coreLines(core));
  const summaries = mms.map(({ source, vmas, pages, ldtEntries, ...usage }) => {
    const ldt = ldtEntries === 0 ? '' : `, LDT of ${ldtEntries} entries`;
    const shares = mms.length === 1 ? '' : `; ${usageText(usage)}`;
    return (
      `${source}: ${vmas.length} mappings, ${pages.copy} pages copied, ${pages.zero} zero, ` +
      `${pages.clone} cloned, ${parentText(pages.parent)}${pages.absent} absent${ldt}${shares}`
    );
  });
  lines.push(...summaries);
  if (mms.length > 1) lines.push(`${formatBytes(report.savedBytes)} saved by sharing`);
  for (const { start, end, reason } of skipped) {
    lines.push(`left out ${hex(start)}-${hex(end)}: ${reason}`);
  }
  const workers = table(
    WORKER_COLUMNS,
    report.perWorker.map(({ phase, worker, units, pages, bytes, busyMs }) => {
      return [phase, `${worker}`, `${units}`, `${pages}`, formatBytes(bytes), formatMs(busyMs)];
    }),
    screen,
  );
  const steps = (['plan', 'copy', 'commit'] as const)
    .map((step) => `${step} ${formatMs(ms[step])}`)
    .join(', ');
  lines.push(
    workers,
    `${formatMs(importMs)} to load, ${formatMs(ms.total)} to dump (${steps}); ` +
      (report.frozen
        ? `${mms.length === 1 ? 'the mm was' : 'the mms were'} frozen for ${formatMs(ms.pause)}`
        : `nothing was frozen; mappings could not change for ${formatMs(ms.locked)}`),
    image.id === null
      ? `${output}: the image would have ${image.bytes} bytes (${formatBytes(image.bytes)})`
      : `${output}: ${formatBytes(image.bytes)}${partsText(image.parts)}, ${image.id === '' ? '' : `id ${image.id}, `}` +
          `${formatBytes(report.bytesPerSecond)}/s; workers ${report.workersReason}`,
  );
  return lines.join('\n');
}
