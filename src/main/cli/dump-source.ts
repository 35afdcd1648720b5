/** What `mmdump dump` dumps: a workload that it creates, or processes that it imports. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { createMachine } from '../../mmu/machine/attach.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { Dumper } from '../dumper.ts';
import type { CoreReport } from '../import/core/core-report.ts';
import type { ProcessReport } from '../import/import-report.ts';
import { residentBytes, residentFileBytes } from '../import/resident-bytes.ts';
import { createWorkload, workloadBytes } from '../workloads/workload.ts';
import type { CoreRequest, DumpRequest, ProcessRequest, WorkloadRequest } from './dump-request.ts';
import type { Progress } from './terminal.ts';

/** The address spaces that will be dumped, and where they come from. */
export interface Source {
  readonly spaces: readonly AddressSpace[];
  readonly names: readonly string[];
  readonly importMs: number;
  /** The reports about imported processes; empty for a workload. */
  readonly processes: readonly ProcessReport[];
  /** The report about an imported core file. */
  readonly core?: CoreReport;
  /** Lets imported processes go on. Returns the reports with the time for which they stood still. */
  release(): Promise<readonly ProcessReport[]>;
}

/**
 * Estimates the bytes to dump, so that threads can start while the bytes are still being loaded.
 */
export function expectedBytes(from: DumpRequest['from']): number {
  if (from.kind === 'workload') return workloadBytes(from.name, from.size);
  if (from.kind === 'core') return residentFileBytes(from.path);
  return from.pids.reduce((bytes, each) => bytes + residentBytes(each), 0);
}

export async function openSource(
  from: DumpRequest['from'],
  dumper: Dumper,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Source> {
  if (from.kind === 'workload') return await openWorkload(from, signal);
  if (from.kind === 'core') return await openCore(from, dumper, signal);
  return await openProcesses(from, dumper, progress, signal);
}

async function openCore(
  { path, memory }: CoreRequest,
  dumper: Dumper,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const machineFor = (needed: number, maxAddressSpaces: number): Machine =>
    createMachine({ memory: memory ?? needed, maxAddressSpaces });
  const options = { signal, load: 'on-demand' } as const;
  const imported = await dumper.importCore(machineFor, path, options);
  const { mm, core } = imported;
  const names = [`core ${path}`];
  const release = async (): Promise<readonly ProcessReport[]> => {
    await imported.release();
    return [];
  };
  return { spaces: [mm], names, importMs: core.ms, processes: [], core, release };
}

async function openWorkload(
  { name, size, memory, seed }: WorkloadRequest,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const start = performance.now();
  const created = await createWorkload(name, {
    ...(signal === undefined ? {} : { signal }),
    ...(size === undefined ? {} : { size }),
    ...(memory === undefined ? {} : { memory }),
    ...(seed === undefined ? {} : { seed }),
  });
  const importMs = performance.now() - start;
  const names = [`workload ${created.source}`];
  return { spaces: [created.space], names, importMs, processes: [], release: async () => [] };
}

async function openProcesses(
  { pids, children, freeze, memory }: ProcessRequest,
  dumper: Dumper,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const start = performance.now();
  const machineFor = (needed: number, maxAddressSpaces: number): Machine =>
    createMachine({ memory: memory ?? needed, maxAddressSpaces });
  const imported = await dumper.importProcess(machineFor, pids, {
    signal,
    children,
    freeze,
    load: freeze ? 'on-demand' : 'now', // a process that goes on changes its pages meanwhile
    onProgress: ({ pages, totalPages }) => {
      progress.show('import', pages * PAGE_SIZE, totalPages * PAGE_SIZE);
    },
  });
  const { mms, processes } = imported;
  const importedAt = performance.now();
  const names = processes.map((each) => `pid ${each.pid}`);
  let releasedAt: number | undefined;
  const release = async (): Promise<readonly ProcessReport[]> => {
    releasedAt ??= performance.now();
    const more = freeze ? releasedAt - importedAt : 0;
    // The dump has found out whether they stood still until its end. What comes later is no matter.
    await imported.release().catch(() => {});
    return processes.map((each) => {
      return { ...each, ms: { ...each.ms, stopped: each.ms.stopped + more } };
    });
  };
  return { spaces: mms, names, importMs: importedAt - start, processes, release };
}
