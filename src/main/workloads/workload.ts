/** Built-in workloads: machines with an address space to dump, whose contents the seed decides. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { createMachine } from '../../mmu/machine/attach.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { abortSignal, oneOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { fillDense } from './dense.ts';
import { FillYielder } from './fill-yielder.ts';
import { fillManyMaps } from './manymaps.ts';
import { fillMixed } from './mixed.ts';
import { WORKLOADS, type WorkloadName } from './names.ts';
import { Random } from './random.ts';
import type { Site } from './site.ts';
import { fillSparse } from './sparse.ts';

/** Options of `createWorkload`. */
export interface WorkloadOptions {
  /**
   * Bytes, at least 1 MiB. Default and most, by workload:
   *
   * - 'dense': memory that is written. 64 MiB, at most 128 GiB.
   * - 'sparse': memory that is reserved, of which 1000 pages are present. 1 TiB, at most 100 TiB.
   * - 'manymaps': mappings of 4 KiB each. 30 000 of them, at most 65 530 of them.
   * - 'mixed': memory of all kinds, about. 64 MiB, at most 128 GiB.
   */
  readonly size?: number | undefined;
  /** Decides the contents: 0 to 2^32 - 1. Default 1. */
  readonly seed?: number | undefined;
  /** Physical memory of the machine: bytes, at least 1 MiB. Default: enough for the workload. */
  readonly memory?: number | undefined;
  /** Stops the filling, which then rejects with AbortError. */
  readonly signal?: AbortSignal | undefined;
}

/** A machine whose contents are the same every time. */
export interface Workload {
  /** The machine that was made. */
  readonly machine: Machine;
  /** Its address space. */
  readonly space: AddressSpace;
  /** `dense:67108864`, for reports. */
  readonly source: string;
}

interface Recipe {
  readonly defaultSize: number;
  readonly maxSize: number;
  /** Bytes of its pages, where these are not `size`. */
  readonly present?: number;
  /** Physical memory that a workload of this size takes. */
  memory(size: number): number;
  readonly deviceMemory: number;
  fill(site: Site): Promise<void>;
}

const TiB = 1024 * GiB;
/** Page tables, page caches and a margin. */
const OVERHEAD = 16 * MiB;

const RECIPES: { readonly [name in WorkloadName]: Recipe } = {
  // `size` bytes of private anonymous memory, every page written.
  dense: {
    defaultSize: 64 * MiB,
    maxSize: 128 * GiB,
    memory: (size) => Math.ceil(size * 1.01) + OVERHEAD,
    deviceMemory: 0,
    fill: fillDense,
  },
  // `size` bytes reserved, 1000 pages present.
  sparse: {
    defaultSize: TiB,
    maxSize: 100 * TiB,
    present: 1000 * PAGE_SIZE,
    memory: () => OVERHEAD + 1000 * 4 * PAGE_SIZE,
    deviceMemory: 0,
    fill: fillSparse,
  },
  // One mapping per page, `size` bytes in all.
  manymaps: {
    defaultSize: 30_000 * PAGE_SIZE,
    maxSize: 65_530 * PAGE_SIZE,
    memory: (size) => Math.ceil(size * 1.01) + OVERHEAD,
    deviceMemory: 0,
    fill: fillManyMaps,
  },
  // About `size` bytes of all kinds: files, zero pages, COW, 2 MiB pages, devices, an LDT.
  mixed: {
    defaultSize: 64 * MiB,
    maxSize: 128 * GiB,
    memory: (size) => Math.ceil(size * 1.3) + 2 * OVERHEAD,
    deviceMemory: 16 * PAGE_SIZE,
    fill: fillMixed,
  },
};

/** The bytes that a workload has in memory, about. */
export function workloadBytes(name: WorkloadName, size?: number): number {
  const { present, defaultSize } = RECIPES[name];
  return present ?? size ?? defaultSize;
}

const NAME = oneOf(WORKLOADS);
const WORKLOAD_OPTIONS: Shape<WorkloadOptions> = {
  size: optional(wholeNumber(MiB)),
  seed: optional(wholeNumber(0, 0xffff_ffff)),
  memory: optional(wholeNumber(MiB)),
  signal: optional(abortSignal),
};

/** Creates a workload. OPTION_INVALID for a name or size that does not exist. */
export async function createWorkload(
  name: WorkloadName,
  options: WorkloadOptions = {},
): Promise<Workload> {
  const recipe = RECIPES[NAME('workload', name)];
  const shape = { ...WORKLOAD_OPTIONS, size: optional(wholeNumber(MiB, recipe.maxSize)) };
  const checked = optionsOf('createWorkload', options, shape);
  const { size = recipe.defaultSize, seed = 1, signal } = checked;
  const memory = checked.memory ?? recipe.memory(size);
  const { deviceMemory } = recipe;
  const machine = createMachine({ memory, deviceMemory, store: 32 * MiB, maxAddressSpaces: 4 });
  const space = machine.createAddressSpace();
  const yielder = new FillYielder(signal);
  await recipe.fill({ machine, space, size, random: new Random(seed), yielder });
  return { machine, space, source: `${name}:${size}` };
}
