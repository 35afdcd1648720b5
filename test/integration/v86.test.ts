/**
 * Invariants checked: the RAM of a running PC of v86, which lies in the memory of v86's own wasm
 * module, is dumped in place and restored in place · the image holds what the guest had in its RAM
 * when it was stopped · after the restore the guest goes on counting from there, without a gap,
 * whatever happened to its RAM since · v86 may grow its memory meanwhile
 */
import { createDumper, createMachine, MiB, memorySink, openImage, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COUNTER, type Guest, LOG, LOG_WORDS, startGuest } from '../support/programs/v86-guest.ts';

const RAM = 16 * MiB;

describe('a PC of v86', () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await startGuest(RAM);
    await guest.passes(5000);
  });
  afterAll(() => guest.emulator.destroy());

  it('has its RAM in whole pages of a memory that is not shared', () => {
    const { mem8, wasm_memory } = guest.cpu;
    expect(wasm_memory.buffer).toBeInstanceOf(ArrayBuffer);
    expect([mem8.byteOffset % PAGE_SIZE, mem8.length]).toEqual([0, RAM]);
  });

  it.each([1, 2])('is dumped and restored in place, and goes on: %i workers', async (workers) => {
    const { emulator, cpu, words, passes } = guest;
    const machine = createMachine({ memory: 8 * MiB, banks: [cpu.wasm_memory] });
    const space = machine.createAddressSpace();
    const ram = { offset: cpu.mem8.byteOffset, length: cpu.mem8.length, prot: 'rwx' } as const;
    const address = space.mapFrames(ram);
    const dumper = await createDumper({ workers });
    const sink = memorySink();

    await emulator.stop();
    const dumped = words(COUNTER, 1)[0]!;
    const registers = Array.from({ length: 8 }, (_, register) => cpu.reg32[register]!);
    const ip = cpu.instruction_pointer[0]!;
    const before = Uint32Array.from(words(0, RAM / 4));
    await dumper.dump(space, { to: sink });
    const image = await openImage(sink.image);
    const bytes = new Uint8Array(4);
    await image.read(address + COUNTER, bytes);
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(dumped);

    await emulator.run();
    await passes(dumped + 10 * LOG_WORDS);
    await emulator.stop();
    cpu.wasm_memory.grow(1);
    words(LOG, LOG_WORDS).fill(0);
    words(RAM / 2, 1000).fill(0x5a5a5a5a);

    await dumper.restore(image, machine, { into: space });
    expect(Buffer.compare(bytesOf(words(0, RAM / 4)), bytesOf(before))).toBe(0);
    // The processor is not in RAM, so the guest's registers are the emulator's part.
    for (const [register, value] of registers.entries()) cpu.reg32[register] = value;
    cpu.instruction_pointer[0] = ip;
    cpu.jit_clear_cache();
    await emulator.run();
    await passes(dumped + 10);
    await emulator.stop();

    const now = words(COUNTER, 1)[0]!;
    expect(now).toBeGreaterThan(dumped);
    const log = Array.from(words(LOG, LOG_WORDS)).sort((a, b) => a - b);
    const last = log.at(-1)!;
    expect(now - last).toBeLessThanOrEqual(1); // it may have been stopped between both stores
    expect(log).toEqual(Array.from({ length: LOG_WORDS }, (_, at) => last - LOG_WORDS + 1 + at));
    expect((last - guest.shown()) & 0xff).toBeLessThanOrEqual(1); // it went on to the screen

    await emulator.run();
    await passes(now);
    await image.close();
    await dumper.close();
    await machine.close();
    await passes(now + LOG_WORDS); // the memory is still v86's own
  });
});

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
