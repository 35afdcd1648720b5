/** The changes that a restore or an import makes to a machine wait while another freeze is held. */
import { describe, expect, it } from 'vitest';
import { VMA_KIND } from '../../../src/mmu/vma/vma-table.ts';
import { VM } from '../../../src/shared/vm-flags.ts';
import { codeOf, freeFrames, testMachine } from '../../support/machine/machine.ts';

const MAPPING = {
  start: 0x10,
  end: 0x12,
  flags: VM.READ | VM.WRITE,
  file: 0,
  pgoff: 0x10,
  anonVma: 0,
  kind: VMA_KIND.ORDINARY,
  isForked: false,
};

describe('fault 2: an operation on a frozen machine has a form that waits', () => {
  it('sets up an address space once the machine is thawed', async () => {
    const machine = testMachine();
    const free = freeFrames(machine);
    const first = await machine.freeze();
    let created = false;
    const creating = machine.createAddressSpaceAsync().then((space) => {
      created = true;
      return space;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(created).toBe(false);
    first.thaw();
    const space = await creating;

    const second = await machine.freeze();
    expect(codeOf(() => space.setAuxv(new Uint8Array(8)))).toBe('EAGAIN');
    const settings = [
      space.insertMappingsAsync([MAPPING]),
      space.setAddressesAsync({ brk: 0x5000 }),
      space.setAuxvAsync(Uint8Array.of(1, 2)),
      space.setNotesAsync(Uint8Array.of(3)),
      space.loadLdtAsync(new Uint8Array(16).fill(1)),
    ];
    second.thaw();
    await Promise.all(settings);
    expect(space.vmas().map(({ start, end }) => [start, end])).toEqual([[0x10000, 0x12000]]);
    expect((await space.addressesAsync()).brk).toBe(0x5000);
    expect(await space.auxvAsync()).toEqual(Uint8Array.of(1, 2));
    expect(await space.notesAsync()).toEqual(Uint8Array.of(3));
    expect(await space.readLdtAsync()).toEqual(new Uint8Array(16).fill(1));

    const third = await machine.freeze();
    const destroying = machine.destroyAddressSpaceAsync(space);
    third.thaw();
    await destroying;
    expect(freeFrames(machine)).toBe(free);
  });

  it('takes nothing of the machine when it is aborted while it waits', async () => {
    const machine = testMachine({ maxAddressSpaces: 1 });
    const freeze = await machine.freeze();
    const abort = new AbortController();
    const creating = machine.createAddressSpaceAsync(abort.signal);
    abort.abort();
    await expect(creating).rejects.toMatchObject({ name: 'AbortError' });
    freeze.thaw();
    const space = await machine.createAddressSpaceAsync(); // succeeds: the only slot is free
    const again = await machine.freeze();
    const setting = space.setAuxvAsync(new Uint8Array(8), AbortSignal.abort());
    await expect(setting).rejects.toMatchObject({ name: 'AbortError' });
    again.thaw();
    expect(space.auxv()).toHaveLength(0);
  });
});
