/** `mmdump dump`: a process or a workload into an image. */
import { readFile } from 'node:fs/promises';
import type { AddressSpace } from '../../mmu/address-space.ts';
import { createMachine } from '../../mmu/machine.ts';
import type { UnsupportedPolicy } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { createDumper, type Dumper } from '../dumper.ts';
import { procError } from '../import/proc.ts';
import type { DumpReport } from '../report.ts';
import { fileSink } from '../sinks/file-sink.ts';
import { createWorkload, type WorkloadName } from '../workloads/workload.ts';
import { dumpJson, dumpText } from './dump-output.ts';
import { EXIT } from './run-command.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';

export interface DumpFlags extends OutputOptions {
  readonly pid?: number;
  readonly workload?: { readonly name: WorkloadName; readonly size?: number };
  readonly output?: string;
  readonly workers?: number;
  readonly zeroPages: 'detect' | 'copy';
  readonly checksum: 'crc32' | 'none';
  readonly blocks: 'run' | 'page';
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly seed?: number;
  readonly memory?: number;
  readonly force?: boolean;
}

/** An address space to dump, and how it came to be. */
interface Source {
  readonly space: AddressSpace;
  readonly name: string;
  readonly importMs: number;
  readonly notes: readonly string[];
}

export async function dumpCommand(flags: DumpFlags, signal: AbortSignal): Promise<number> {
  const output = flags.output ?? defaultOutput(flags);
  if (output === '-') {
    throw new MmdumpError('OPTION_INVALID', "output: '-': an image is written to a file");
  }
  const sink = fileSink(output, { force: flags.force ?? false });
  await sink.assertFree();
  const dumper = await createDumper(flags.workers === undefined ? {} : { workers: flags.workers });
  const progress = new Progress(flags);
  try {
    const source = await openSource(flags, dumper, progress, signal);
    const { zeroPages, checksum, blocks, unsupported, hugetlb } = flags;
    const report = await dumper.dump(source.space, {
      to: sink,
      zeroPages,
      checksum,
      blocks,
      unsupported,
      hugetlb,
      source: source.name,
      signal,
      onProgress: ({ phase, bytes, totalBytes }) => {
        if (phase === 'copy') progress.show('dump  ', bytes, totalBytes);
      },
    });
    progress.stop();
    show(flags, report, source);
  } finally {
    progress.stop();
    await dumper.close();
  }
  return EXIT.DONE;
}

function show(flags: DumpFlags, report: DumpReport, source: Source): void {
  if (flags.json === true) printJson(dumpJson(report, source.importMs));
  else if (flags.quiet !== true) {
    for (const note of source.notes) print(note);
    print(dumpText(report, source.importMs));
  }
}

function defaultOutput({ pid, workload }: DumpFlags): string {
  return `${workload?.name ?? pid}.cpt`;
}

async function openSource(
  flags: DumpFlags,
  dumper: Dumper,
  progress: Progress,
  signal: AbortSignal,
): Promise<Source> {
  const start = performance.now();
  const { workload, pid, memory, seed } = flags;
  if (workload !== undefined) {
    const created = await createWorkload(workload.name, {
      signal,
      ...(workload.size === undefined ? {} : { size: workload.size }),
      ...(memory === undefined ? {} : { memory }),
      ...(seed === undefined ? {} : { seed }),
    });
    const importMs = performance.now() - start;
    return { space: created.space, name: `workload ${created.source}`, importMs, notes: [] };
  }
  if (pid === undefined) throw new MmdumpError('OPTION_INVALID', 'neither a pid nor a workload');
  const machine = createMachine({ memory: memory ?? (await memoryFor(pid)), maxAddressSpaces: 1 });
  const { mms, processes } = await dumper.importProcess(machine, pid, {
    signal,
    onProgress: ({ pages, totalPages }) => {
      progress.show('import', pages * PAGE_SIZE, totalPages * PAGE_SIZE);
    },
  });
  const importMs = performance.now() - start;
  const notes = (processes[0]?.smapsDifferences ?? []).map((line) => `differs from smaps: ${line}`);
  if (processes[0]?.sharingKnown === false) {
    notes.push('not root: which pages were shared is unknown, every page has a frame of its own');
  }
  return { space: mms[0]!, name: `pid ${pid}`, importMs, notes };
}

/** Simulated memory for a process: what it has resident or swapped out, its tables, and a margin. */
async function memoryFor(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch((error: unknown) => {
    throw procError(pid, 'status', error);
  });
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  const pages = kilobytes('VmRSS') + kilobytes('VmSwap');
  const tables = 3 * kilobytes('VmPTE'); // all levels, and nodes of page caches
  return Math.ceil((pages + tables) * 1024 * 1.25) + 64 * MiB;
}
