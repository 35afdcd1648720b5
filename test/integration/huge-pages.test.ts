/**
 * Huge pages under the memory of machines and of images.
 *
 * Invariants checked: large banks and chunks are advised from the first byte, where the system gives
 * huge pages on request and the C library can be called, and nowhere else · device memory is not
 * advised · a machine that uses little of its memory stays small.
 */
import { createDumper, createMachine, createWorkload, GiB, MiB, memorySink } from 'mmdump';
import { describe, expect, it } from 'vitest';
import { addressOfView, hasNativeCalls } from '../../src/shared/native/library.ts';
import { GIVES_ON_REQUEST, isAdvised, residentBytesIn } from '../support/linux/advised-memory.ts';

const IS_ADVISED = GIVES_ON_REQUEST && hasNativeCalls();
const BLOCK = 2 * MiB;

/** An address inside of a buffer. Precondition: there are native calls. */
function addressIn(buffer: ArrayBufferLike, offset: number): number {
  return addressOfView(new Uint8Array(buffer)) + offset;
}

describe.skipIf(!hasNativeCalls())('banks', () => {
  it('are advised if they are large, device memory excepted', async () => {
    const machine = createMachine({ memory: 256 * MiB, deviceMemory: 64 * MiB, swap: 128 * MiB });
    const { banks, swapBanks } = machine.handle;
    const bank = banks[0]!.buffer;
    expect(isAdvised(addressIn(bank, 0))).toBe(IS_ADVISED);
    expect(isAdvised(addressIn(bank, 192 * MiB - 1))).toBe(IS_ADVISED);
    expect(isAdvised(addressIn(bank, 192 * MiB))).toBe(false);
    expect(isAdvised(addressIn(swapBanks[0]!.buffer, 0))).toBe(IS_ADVISED);
    await machine.close();
  });

  it('are left alone if they are small', async () => {
    const machine = createMachine({ memory: 32 * MiB });
    expect(isAdvised(addressIn(machine.handle.banks[0]!.buffer, MiB))).toBe(false);
    await machine.close();
  });

  it('stay small as long as the machine uses little, wherever its pages lie', async () => {
    const machine = createMachine({ memory: GiB });
    const space = machine.createAddressSpace();
    const length = GiB;
    const flags = ['private', 'anonymous'] as const;
    const start = space.mmap({ length, prot: 'rw', flags });
    for (let page = 0; page < 512; page++) space.fill(start + page * BLOCK, 1, 7);
    const { total, free } = machine.memory;
    const bank = addressIn(machine.handle.banks[0]!.buffer, 0);
    const resident = residentBytesIn(bank, bank + GiB);
    expect(resident).toBeGreaterThanOrEqual(512 * 4096);
    expect(resident).toBeLessThanOrEqual(total - free + 3 * BLOCK);
    await machine.close();
  });
});

describe.skipIf(!hasNativeCalls())('chunks of a memory sink', () => {
  it.for([false, true])('are advised if they are large; in the machine: %s', async (inMachine) => {
    const workload = await createWorkload('dense', { size: 96 * MiB });
    const dumper = await createDumper({ workers: 1 });
    try {
      const sink = memorySink(inMachine ? { machine: workload.machine } : {});
      await dumper.dump(workload.space, { to: sink });
      const [chunk] = sink.image.chunks;
      expect(isAdvised(addressOfView(chunk!) + MiB)).toBe(IS_ADVISED);
    } finally {
      await dumper.close();
    }
  });
});
