/**
 * Jobs as functions: each runs on a dumper that is given, or on threads that end with the job.
 */
import type { AddressSpace } from '../mmu/machine/address-space.ts';
import type { Machine } from '../mmu/machine/machine.ts';
import { instanceOf, optional } from '../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../shared/arguments/options.ts';
import { COMPARE_OPTIONS, type CompareOptions, type Comparison } from './compare/compare.ts';
import { DIFF_OPTIONS, type DiffOptions, type ImageDiff } from './compare/diff-report.ts';
import { WORKERS } from './crew/dumper-options.ts';
import { createDumper, Dumper } from './dumper.ts';
import type { Image } from './image/image.ts';
import { VERIFY_OPTIONS, type Verification, type VerifyOptions } from './image/verify/verify.ts';
import { CORE_OPTIONS, type CoreImport, type CoreOptions } from './import/core/core-report.ts';
import { IMPORT_OPTIONS } from './import/import-arguments.ts';
import type { ImportOptions, ImportResult, MachineFor } from './import/import-report.ts';
import {
  SEARCH_OPTIONS,
  type SearchOptions,
  type SearchResult,
  SPACE_SEARCH_OPTIONS,
  type SpaceSearchOptions,
  searchOptions,
} from './search/search.ts';
import type { MemoryImage } from './sinks/memory-sink.ts';
/** Which workers a single job runs on: those of a dumper, or threads that end with the job. */
export interface WorkerChoice {
  /** The dumper whose workers run the job. By default the job has threads of its own. */
  readonly dumper?: Dumper | undefined;
  /**
   * Number of threads to start for the job, 1 to 128. It has no effect with `dumper`. By default it
   * is chosen as for `createDumper`.
   */
  readonly workers?: number | undefined;
}

const WORKER_CHOICE: Shape<WorkerChoice> = {
  dumper: optional(instanceOf(Dumper, 'a Dumper')),
  workers: optional(WORKERS),
};

async function withDumper<T>(
  { dumper, workers }: WorkerChoice,
  job: (dumper: Dumper) => Promise<T>,
): Promise<T> {
  if (dumper !== undefined) return job(dumper);
  const own = await createDumper({ workers });
  try {
    return await job(own);
  } finally {
    await own.close();
  }
}

/**
 * Imports live processes into a machine, or into the machine that a function makes once it is known
 * how much memory they need, as `Dumper.importProcess` does. They are stopped at one instant while
 * they are read, and go on afterwards unless they were stopped before.
 */
export async function importProcess(
  machine: Machine | MachineFor,
  pids: number | readonly number[],
  options: ImportOptions & WorkerChoice = {},
): Promise<ImportResult> {
  const shape = { ...IMPORT_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('importProcess', options, shape);
  return withDumper({ dumper, workers }, (own) => own.importProcess(machine, pids, rest));
}

/**
 * Imports an ELF core file of x86-64 Linux into a machine, or into the machine that a function makes
 * once it is known how much memory it needs, as `Dumper.importCore` does.
 */
export async function importCore(
  machine: Machine | MachineFor,
  path: string,
  options: CoreOptions & WorkerChoice = {},
): Promise<CoreImport> {
  const shape = { ...CORE_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('importCore', options, shape);
  return withDumper({ dumper, workers }, (own) => own.importCore(machine, path, rest));
}

/**
 * Verifies structure, order, bounds and checksums of an image, as `Dumper.verify` does. Problems of
 * the image are listed, not thrown.
 */
export async function verifyImage(
  from: string | MemoryImage,
  options: VerifyOptions & WorkerChoice = {},
): Promise<Verification> {
  const shape = { ...VERIFY_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('verifyImage', options, shape);
  return withDumper({ dumper, workers }, (own) => own.verify(from, rest));
}

/**
 * Compares the mappings, the LDTs and the pages of two address spaces, as `Dumper.compare` does,
 * and names the first difference.
 */
export async function compareAddressSpaces(
  left: AddressSpace,
  right: AddressSpace,
  options: CompareOptions & WorkerChoice = {},
): Promise<Comparison> {
  const shape = { ...COMPARE_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('compareAddressSpaces', options, shape);
  return withDumper({ dumper, workers }, (own) => own.compare(left, right, rest));
}

/** Compares two images, as `Dumper.diffImages` does: the mappings and the pages of their mms. */
export async function diffImages(
  left: Image,
  right: Image,
  options: DiffOptions & WorkerChoice = {},
): Promise<ImageDiff> {
  const shape = { ...DIFF_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('diffImages', options, shape);
  return withDumper({ dumper, workers }, (own) => own.diffImages(left, right, rest));
}

/** Compares an image with address spaces, as `Dumper.diff` does: what has changed since. */
export async function diff(
  spaces: AddressSpace | readonly AddressSpace[],
  image: Image,
  options: DiffOptions & WorkerChoice = {},
): Promise<ImageDiff> {
  const shape = { ...DIFF_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('diff', options, shape);
  return withDumper({ dumper, workers }, (own) => own.diff(spaces, image, rest));
}

/** Searches an image for bytes, a text or an expression, as `Dumper.search` does. */
export async function searchImage(
  image: Image,
  pattern: string | ArrayBufferView | RegExp,
  options: SearchOptions & WorkerChoice = {},
): Promise<SearchResult> {
  const shape = { ...SEARCH_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = searchOptions('searchImage', options, shape);
  return withDumper({ dumper, workers }, (own) => own.search(image, pattern, rest));
}

/** Searches address spaces for bytes, a text or an expression, as `Dumper.searchSpaces` does. */
export async function searchSpaces(
  spaces: AddressSpace | readonly AddressSpace[],
  pattern: string | ArrayBufferView | RegExp,
  options: SpaceSearchOptions & WorkerChoice = {},
): Promise<SearchResult> {
  const shape = { ...SPACE_SEARCH_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = searchOptions('searchSpaces', options, shape);
  return withDumper({ dumper, workers }, (own) => own.searchSpaces(spaces, pattern, rest));
}
