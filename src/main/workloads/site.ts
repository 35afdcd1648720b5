/** What a workload gets to work on. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import type { FillYielder } from './fill-yielder.ts';
import type { Random } from './random.ts';

export interface Site {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly size: number; // bytes
  readonly random: Random;
  readonly yielder: FillYielder;
}
