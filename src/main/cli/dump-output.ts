/** The report of a dump, for people and for scripts. */
import type { DumpReport, WorkerReport } from '../report.ts';
import { formatBytes, formatMs } from './sizes.ts';
import { table } from './terminal.ts';

/** The object that `dump --json` prints; its keys are a contract. */
export function dumpJson(report: DumpReport, importMs: number): unknown {
  const { image, workers, workersReason, frozen, mms, skipped, ms, bytesPerSecond } = report;
  return {
    image,
    workers,
    workersReason,
    frozen,
    mms: mms.map(({ source, vmas, pages, ldtEntries }) => {
      return { source, vmas: vmas.length, pages, ldtEntries };
    }),
    skipped: skipped.map(({ mm, start, end, reason }) => {
      return { mm, start: hexAddress(start), end: hexAddress(end), reason };
    }),
    ms: roundAll({ import: importMs, ...ms, total: importMs + ms.total }),
    bytesPerSecond,
    perWorker: report.perWorker.map(roundWorker),
  };
}

function hexAddress(address: number): string {
  return `0x${address.toString(16)}`;
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

export function dumpText(report: DumpReport, importMs: number): string {
  const { image, mms, skipped, ms } = report;
  const lines = mms.map(({ source, vmas, pages, ldtEntries }) => {
    const ldt = ldtEntries === 0 ? '' : `, LDT of ${ldtEntries} entries`;
    return (
      `${source}: ${vmas.length} mappings, ${pages.copy} pages copied, ${pages.zero} zero, ` +
      `${pages.clone} cloned, ${pages.absent} absent${ldt}`
    );
  });
  for (const { start, end, reason } of skipped) {
    lines.push(`left out ${hexAddress(start)}-${hexAddress(end)}: ${reason}`);
  }
  const workers = table(
    ['phase', 'worker', 'units', 'pages', 'bytes', 'busy'],
    report.perWorker.map(({ phase, worker, units, pages, bytes, busyMs }) => {
      return [phase, `${worker}`, `${units}`, `${pages}`, formatBytes(bytes), formatMs(busyMs)];
    }),
  );
  const steps = (['plan', 'classify', 'layout', 'copy', 'commit'] as const)
    .map((step) => `${step} ${formatMs(ms[step])}`)
    .join(', ');
  lines.push(
    workers,
    `${formatMs(importMs)} to load, ${formatMs(ms.total)} to dump (${steps}); ` +
      `the mm stood still for ${formatMs(ms.pause)}`,
    `${image.path}: ${formatBytes(image.bytes)}, id ${image.id}, ` +
      `${formatBytes(report.bytesPerSecond)}/s with ${report.workers} workers (${report.workersReason})`,
  );
  return lines.join('\n');
}
