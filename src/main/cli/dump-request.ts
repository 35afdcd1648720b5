/** What `mmdump dump` is asked for, made of its flags: what follows looks at no flag. */
import { basename } from 'node:path';
import type { UnsupportedPolicy } from '../../shared/dump/tasks/pass-task.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { EstimateOptions, ImageFormat } from '../dump/options.ts';
import type { WorkloadName } from '../workloads/names.ts';
import type { Split } from './sizes.ts';
import type { OutputOptions } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';

export interface DumpFlags extends OutputOptions, TimeoutFlag {
  readonly pid?: readonly number[];
  readonly children?: boolean;
  readonly workload?: { readonly name: WorkloadName; readonly size?: number };
  readonly core?: string;
  readonly output?: string;
  readonly workers?: number;
  readonly zeroPages: 'detect' | 'copy';
  readonly checksum: 'xxh3' | 'crc32' | 'none';
  readonly compress: 'none' | 'zstd';
  readonly blocks: 'run' | 'page';
  readonly format: ImageFormat;
  readonly mm?: number;
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly freeze: boolean;
  readonly pause?: 'fork';
  readonly seed?: number;
  readonly memory?: number;
  readonly force?: boolean;
  readonly sync: boolean;
  readonly dontdump?: boolean;
  readonly dryRun?: boolean;
  readonly sizeLimit?: number;
  readonly split?: Split;
  readonly parent?: string;
  readonly parents?: readonly string[];
}

/** A built-in workload that is to be created and dumped. */
export interface WorkloadRequest {
  readonly kind: 'workload';
  readonly name: WorkloadName;
  /** Undefined here and below: the default of `createWorkload`. */
  readonly size: number | undefined;
  readonly memory: number | undefined;
  readonly seed: number | undefined;
}

/** Live processes that are to be imported and dumped. */
export interface ProcessRequest {
  readonly kind: 'processes';
  readonly pids: readonly number[];
  readonly children: boolean | undefined;
  readonly freeze: boolean;
  /** Bytes of simulated memory. Undefined: as many as it takes. */
  readonly memory: number | undefined;
}

/** A core file that is to be imported and dumped. */
export interface CoreRequest {
  readonly kind: 'core';
  readonly path: string;
  /** Bytes of simulated memory. Undefined: as many as it takes. */
  readonly memory: number | undefined;
}

/** Where the image goes. */
export interface OutputRequest {
  readonly path: string;
  readonly force: boolean;
  /** Whether to wait until the image is on the disk. */
  readonly sync: boolean;
  readonly split: Split | undefined;
}

export interface DumpRequest {
  readonly from: WorkloadRequest | ProcessRequest | CoreRequest;
  /** Undefined: a dry run, which writes nothing. */
  readonly output: OutputRequest | undefined;
  readonly workers: number | undefined;
  /** Ordinal of the only address space that is dumped. Undefined: all of them. */
  readonly mm: number | undefined;
  readonly options: Omit<
    EstimateOptions,
    'source' | 'signal' | 'timeoutMs' | 'onProgress' | 'parent'
  >;
  /** Path of the parent image, and paths of its ancestors. */
  readonly parent: string | undefined;
  readonly parents: readonly string[];
  readonly printing: OutputOptions;
}

/** Throws OPTION_INVALID for flags that contradict each other. */
export function parseRequest(flags: DumpFlags): DumpRequest {
  const { zeroPages, checksum, compress, blocks, format } = flags;
  const { unsupported, hugetlb, freeze, pause, sizeLimit } = flags;
  if (pause !== undefined && !freeze) {
    throw new MmdumpError('OPTION_INVALID', 'pause: --no-freeze already lets the workload run');
  }
  return {
    output: outputOf(flags),
    from: fromOf(flags),
    workers: flags.workers,
    mm: flags.mm,
    parent: flags.parent,
    parents: flags.parents ?? [],
    options: {
      zeroPages,
      checksum,
      compress,
      blocks,
      format,
      unsupported,
      hugetlb,
      ...(pause === undefined ? { freeze } : { pause }),
      dontDump: flags.dontdump ?? false,
      sizeLimit,
    },
    printing: flags,
  };
}

/** Suffixes of outputs that have no other name. */
const SUFFIXES = { cpt: 'cpt', elf: 'core', openvz: 'openvz' } as const;

function outputOf(flags: DumpFlags): OutputRequest | undefined {
  const { pid, core, workload, json, force = false, split, sync, dryRun = false } = flags;
  const name = workload?.name ?? (core === undefined ? pid?.[0] : basename(core));
  const path = flags.output ?? `${name}.${SUFFIXES[flags.format]}`;
  if (path === '-' && json === true && !dryRun) {
    throw new MmdumpError('OPTION_INVALID', "output: '-': --json also writes to standard output");
  }
  if (path === '-' && split !== undefined) {
    throw new MmdumpError(
      'OPTION_INVALID',
      "output: '-': --split writes several files, and standard output is one",
    );
  }
  return dryRun ? undefined : { path, force, sync, split };
}

function fromOf(flags: DumpFlags): DumpRequest['from'] {
  const { workload, pid, core, children, freeze, memory, seed } = flags;
  if (workload !== undefined) {
    const { name, size } = workload;
    return { kind: 'workload', name, size, memory, seed };
  }
  if (core !== undefined) return { kind: 'core', path: core, memory };
  if (pid === undefined) throw new MmdumpError('OPTION_INVALID', 'no pid, core or workload');
  return { kind: 'processes', pids: pid, children, freeze, memory };
}
