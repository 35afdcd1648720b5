/** `mmdump dump` dumps processes or a workload into an image. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { createMachine, type Machine } from '../../mmu/machine/machine.ts';
import type { UnsupportedPolicy } from '../../shared/dump/tasks/pass-task.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { EstimateOptions } from '../dump/options.ts';
import type { DumpEstimate, DumpReport } from '../dump/report.ts';
import { createDumper, type Dumper } from '../dumper.ts';
import type { ProcessReport } from '../import/import-report.ts';
import { residentBytes } from '../import/proc.ts';
import { abortable } from '../job/stop.ts';
import type { WorkloadName } from '../workloads/names.ts';
import { createWorkload, workloadBytes } from '../workloads/workload.ts';
import { dumpJson, dumpText } from './dump-output.ts';
import { NO_OUTPUT, type Output, openOutput } from './output.ts';
import { EXIT, printError } from './run-command.ts';
import type { Split } from './sizes.ts';
import { type OutputOptions, Progress, print, printAside, printJson } from './terminal.ts';
import { type TimeoutFlag, withTimeout } from './timeout-option.ts';
import { workersOption } from './workers-option.ts';

export interface DumpFlags extends OutputOptions, TimeoutFlag {
  readonly pid?: readonly number[];
  readonly children?: boolean;
  readonly workload?: { readonly name: WorkloadName; readonly size?: number };
  readonly output?: string;
  readonly workers?: number;
  readonly zeroPages: 'detect' | 'copy';
  readonly checksum: 'xxh3' | 'crc32' | 'none';
  readonly blocks: 'run' | 'page';
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly freeze: boolean;
  readonly seed?: number;
  readonly memory?: number;
  readonly force?: boolean;
  readonly dontdump?: boolean;
  readonly dryRun?: boolean;
  readonly sizeLimit?: number;
  readonly split?: Split;
}

/** The address spaces that will be dumped, and where they come from. */
interface Source {
  readonly spaces: readonly AddressSpace[];
  readonly names: readonly string[];
  readonly importMs: number;
  /** The reports about imported processes; empty for a workload. */
  readonly processes: readonly ProcessReport[];
}

/** The time-out covers the whole command: the import, the dump, and all that comes before them. */
export function dumpCommand(flags: DumpFlags, signal: AbortSignal): Promise<number> {
  return withTimeout(flags, signal, 'load', ({ signal: stop }) => dumpUntil(flags, stop));
}

async function dumpUntil(flags: DumpFlags, signal: AbortSignal | undefined): Promise<number> {
  const path = flags.output ?? defaultOutput(flags);
  const isDry = flags.dryRun === true;
  if (path === '-' && flags.json === true && !isDry) {
    throw new MmdumpError('OPTION_INVALID', "output: '-': --json writes to standard output, too");
  }
  if (path === '-' && flags.split !== undefined) {
    throw new MmdumpError('OPTION_INVALID', "output: '-': --split writes several files");
  }
  const output = isDry
    ? NO_OUTPUT
    : await abortable(openOutput(path, flags.force ?? false, flags.split), signal);
  const dumper = await createDumper(workersOption(flags.workers, expectedBytes(flags)));
  const progress = new Progress(flags);
  try {
    const source = await openSource(flags, dumper, progress, signal);
    const options = dumpOptions(flags, source, progress, signal);
    const report = isDry
      ? await dumper.estimate(source.spaces, options)
      : await dumper.dump(source.spaces, { ...options, to: output.sink });
    progress.stop();
    show(flags, report, source, output);
  } finally {
    progress.stop();
    await dumper.close();
  }
  return EXIT.DONE;
}

/**
 * Estimates the bytes to dump, so that threads can start while the bytes are still being loaded.
 */
function expectedBytes({ workload, pid }: DumpFlags): number | undefined {
  if (workload !== undefined) return workloadBytes(workload.name, workload.size);
  return pid?.reduce((bytes, each) => bytes + residentBytes(each), 0);
}

function dumpOptions(
  flags: DumpFlags,
  source: Source,
  progress: Progress,
  signal: AbortSignal | undefined,
): EstimateOptions {
  const { zeroPages, checksum, blocks, unsupported, hugetlb, freeze, dontdump, sizeLimit } = flags;
  return {
    zeroPages,
    checksum,
    blocks,
    unsupported,
    hugetlb,
    freeze,
    dontDump: dontdump ?? false,
    ...(sizeLimit === undefined ? {} : { sizeLimit }),
    source: source.names,
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ phase, bytes, totalBytes, etaMs }) => {
      if (phase === 'copy') progress.show('dump  ', bytes, totalBytes, etaMs);
    },
  };
}

function show(
  flags: DumpFlags,
  report: DumpReport | DumpEstimate,
  { importMs, processes }: Source,
  { name, isStdout }: Output,
): void {
  // This is printed with --quiet as well: the image may differ from the process.
  for (const { smapsDifferences } of processes) {
    for (const line of smapsDifferences ?? []) printError(`differs from smaps: ${line}`);
  }
  if (flags.json === true) printJson(dumpJson(report, importMs, processes));
  else if (flags.quiet !== true) {
    const text = dumpText(report, importMs, processes, name);
    if (isStdout) printAside(text);
    else print(text);
  }
}

function defaultOutput({ pid, workload }: DumpFlags): string {
  return `${workload?.name ?? pid?.[0]}.cpt`;
}

async function openSource(
  flags: DumpFlags,
  dumper: Dumper,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const start = performance.now();
  const { workload, pid, memory, seed } = flags;
  if (workload !== undefined) {
    const created = await createWorkload(workload.name, {
      ...(signal === undefined ? {} : { signal }),
      ...(workload.size === undefined ? {} : { size: workload.size }),
      ...(memory === undefined ? {} : { memory }),
      ...(seed === undefined ? {} : { seed }),
    });
    const importMs = performance.now() - start;
    const names = [`workload ${created.source}`];
    return { spaces: [created.space], names, importMs, processes: [] };
  }
  if (pid === undefined) throw new MmdumpError('OPTION_INVALID', 'neither a pid nor a workload');
  const machineFor = (needed: number, maxAddressSpaces: number): Machine =>
    createMachine({ memory: memory ?? needed, maxAddressSpaces });
  const { mms, processes } = await dumper.importProcess(machineFor, pid, {
    signal,
    children: flags.children,
    freeze: flags.freeze,
    onProgress: ({ pages, totalPages }) => {
      progress.show('import', pages * PAGE_SIZE, totalPages * PAGE_SIZE);
    },
  });
  const importMs = performance.now() - start;
  const names = processes.map((each) => `pid ${each.pid}`);
  return { spaces: mms, names, importMs, processes };
}
