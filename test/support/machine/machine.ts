import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { createMachine } from '../../../src/mmu/machine/attach.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import type { MachineOptions } from '../../../src/mmu/mm/create-machine.ts';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { ZERO_PAGE } from './zero-page.ts';

/** A small machine that asserts the lock order. */
export function testMachine(options: Partial<MachineOptions> = {}): Machine {
  return createMachine({
    memory: 16 * MiB,
    store: MiB,
    maxAddressSpaces: 4,
    checks: true,
    zeroPage: ZERO_PAGE,
    ...options,
  });
}

/** A page of one byte value. */
export function pageOf(value: number): Uint8Array {
  return new Uint8Array(PAGE_SIZE).fill(value);
}

export function readBytes(space: AddressSpace, address: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  space.read(address, bytes);
  return bytes;
}

/** The mappings, one line per VMA, in the form of a maps file. */
export function maps(space: AddressSpace): string[] {
  return space
    .vmas()
    .map(
      ({ start, end, prot, file }) =>
        `${start.toString(16)}-${end.toString(16)} ${prot}${file === null ? '' : ` ${file}`}`,
    );
}

/** Returns the code of the error that `action` throws, or 'nothing'. */
export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'nothing';
}

/** Free frames; the huge zero page counts as free, since it stays once it has been created. */
export function freeFrames(machine: Machine): number {
  const { pages, device, allocator } = machine.parts;
  let zero = 0;
  for (let pfn = 2; pfn < device.first; pfn++) if ((pages.flags(pfn) & PG.ZERO) !== 0) zero++;
  return allocator.countFree(machine.parts.thread) + zero;
}
