/**
 * A PC of v86 with its RAM in the memory of v86's own wasm module, as in examples/v86-snapshots: an
 * image of what has changed, a whole image beside v86's `save_state`, and a restore beside its
 * `restore_state`. All of them hold the RAM, the processor and the devices. After each restore the
 * guest must count on from the right number.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { collectGarbage } from '../fixtures.ts';
import { type Line, skippedLine, toLine } from '../line.ts';
import { measure, samplesOf, type Tasks, timed } from '../measure.ts';
import { TARGETS } from '../targets.ts';

const CHANGED = '1 % of the pages changed, found by digests';
const WHOLE = 'a whole image';
const SAVE = 'v86 save_state';
const RESTORE = 'a restore';
const RESTORE_STATE = 'v86 restore_state';

/** The guest of the example, which is JavaScript without types. */
interface Guest {
  readonly emulator: {
    save_state(): Promise<ArrayBuffer>;
    restore_state(state: ArrayBuffer): Promise<void>;
    destroy(): Promise<void>;
  };
  readonly cpu: {
    readonly mem8: { readonly byteOffset: number; readonly length: number };
    readonly wasm_memory: { readonly buffer: ArrayBuffer };
  };
  counter(): number;
  /** Lets the guest run until it has counted beyond a value, and stops it. */
  runBeyond(value: number): Promise<void>;
}

const example = (name: string) =>
  import(new URL(`../../examples/v86-snapshots/${name}.mjs`, import.meta.url).href);

export const v86: BenchCase = {
  name: 'v86',
  about: "a PC of v86: what has changed, and all of it, beside v86's save_state and restore_state",
  async run({ options, workers }) {
    const bytes = Math.min(options.bytes, 512 * MiB);
    const started = await startGuest(bytes);
    if (typeof started === 'string') return { lines: [skippedLine('v86', CHANGED, started)] };
    const { cpu, emulator } = started;
    const machine = createMachine({ memory: 8 * MiB + bytes / 64, banks: [cpu.wasm_memory] });
    const dumper = await createDumper({ workers });
    try {
      const lines = await linesOf(started, machine, dumper, options.rounds);
      return { lines };
    } finally {
      await dumper.close();
      await machine.close();
      await emulator.destroy();
      collectGarbage();
    }
  },
};

/** Starts the guest and fills its RAM above 1 MiB, no two pages alike. Or says why that fails. */
async function startGuest(bytes: number): Promise<Guest | string> {
  let guest: Guest;
  try {
    guest = await (await example('guest')).startGuest(bytes);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  await guest.runBeyond(1000);
  const words = ramOf(guest);
  for (let at = MiB / 4; at < words.length; at++) words[at] = at * 0x9e3779b1;
  return guest;
}

/** The RAM, in a view that is made anew, since the memory of v86 may grow. */
function ramOf({ cpu: { mem8, wasm_memory } }: Guest): Int32Array {
  return new Int32Array(wasm_memory.buffer, mem8.byteOffset, mem8.length / 4);
}

/** Writes into every hundredth page above 1 MiB, each time other bytes. */
function changePages(guest: Guest, round: number): void {
  const words = ramOf(guest);
  const stride = (100 * PAGE_SIZE) / 4;
  for (let at = MiB / 4 + 5; at < words.length; at += stride) words[at] = round;
}

async function linesOf(
  guest: Guest,
  machine: Machine,
  dumper: Dumper,
  rounds: number,
): Promise<Line[]> {
  const { emulator, cpu } = guest;
  const ram = machine.createAddressSpace();
  ram.mapFrames({ offset: cpu.mem8.byteOffset, length: cpu.mem8.length, prot: 'rwx' });
  const { saveDevices, restoreDevices } = await example('devices');
  const first = memorySink();
  const state = { devices: await saveDevices(emulator) };
  await dumper.dump(ram, { to: first, state });
  const parent = await openImage(first.image);
  const at = guest.counter();
  const saved = await emulator.save_state();
  let changes = 0;
  /** Restores, and checks afterwards that the guest goes on where it was. */
  const restored = async (action: () => Promise<unknown>) => {
    await guest.runBeyond(guest.counter() + 100);
    const timing = await timed(action);
    if (guest.counter() !== at) throw new Error(`the guest is at ${guest.counter()}, not ${at}`);
    await guest.runBeyond(at + 100);
    return timing;
  };
  const changed = dumpTask(dumper, ram, () => saveDevices(emulator), parent);
  const whole = dumpTask(dumper, ram, () => saveDevices(emulator));
  const tasks: Tasks = {
    [CHANGED]: () => {
      changePages(guest, ++changes);
      return timed(changed);
    },
    [WHOLE]: () => timed(whole),
    [SAVE]: () => timed(() => emulator.save_state()),
    [RESTORE]: () =>
      restored(async () => {
        const { state: kept } = await dumper.restore(parent, machine, { into: ram });
        await restoreDevices(emulator, kept.devices);
      }),
    [RESTORE_STATE]: () => restored(() => emulator.restore_state(saved)),
  };
  try {
    return shown(await measure(tasks, Math.min(rounds, 5)), cpu.mem8.length, dumper.workers);
  } finally {
    await parent.close();
  }
}

/** A dump with the devices into a memory sink of its own, which is warm from the second time on. */
function dumpTask(
  dumper: Dumper,
  ram: AddressSpace,
  devices: () => Promise<Uint8Array>,
  parent?: Image,
): () => Promise<unknown> {
  const to = memorySink();
  return async () => dumper.dump(ram, { to, parent, state: { devices: await devices() } });
}

function shown(
  samples: Awaited<ReturnType<typeof measure>>,
  bytes: number,
  workers: number,
): Line[] {
  const beside = {
    [WHOLE]: { limit: SAVE, target: TARGETS.v86Whole },
    [RESTORE]: { limit: RESTORE_STATE, target: TARGETS.v86Restore },
  } as const;
  return [CHANGED, WHOLE, SAVE, RESTORE, RESTORE_STATE].map((name) => {
    const other = beside[name as keyof typeof beside];
    return toLine('v86', {
      name,
      parameters: { MiB: bytes / MiB, workers },
      unit: 'ms',
      samples: samplesOf(samples, name),
      limit: other && { name: other.limit, samples: samplesOf(samples, other.limit) },
      target: name === CHANGED ? TARGETS.v86Changed : other?.target,
      bytes,
    });
  });
}
