/**
 * Dumps guest RAM of an emulator where it lies, beside a dump of the same pages in a machine's own
 * frames, and RAM that is not shared beside RAM that is.
 */
import { type AddressSpace, createDumper, createMachine, type Dumper, MiB } from 'mmdump';
import { Memory } from '../../src/shared/wasm.ts';
import type { BenchCase } from '../case.ts';
import { timedDump } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Task, type Tasks } from '../measure.ts';
import { type OutputKind, openOutput, SINKS } from '../outputs.ts';

const OWN = "the machine's own frames";
type Bank = SharedArrayBuffer | ArrayBuffer | { readonly buffer: ArrayBufferLike };
const SHARED = 'a WebAssembly.Memory';
const BANKS: { readonly [name: string]: (bytes: number) => Bank } = {
  [SHARED]: (bytes) => {
    return new Memory({ initial: bytes / 0x10000, maximum: bytes / 0x10000, shared: true });
  },
  'a SharedArrayBuffer': (bytes) => new SharedArrayBuffer(bytes),
  'a WebAssembly.Memory that is not shared': (bytes) => {
    const Private = Memory as unknown as new (_: object) => { readonly buffer: ArrayBuffer };
    return new Private({ initial: bytes / 0x10000 });
  },
  'an ArrayBuffer': (bytes) => new ArrayBuffer(bytes),
};
/** What the speed of a line is compared with, where that is not the machine's own frames. */
const BESIDE: { readonly [name: string]: string } = {
  'a WebAssembly.Memory that is not shared': SHARED,
  'an ArrayBuffer': SHARED,
};

export const adopted: BenchCase = {
  name: 'adopted',
  about: 'guest RAM dumped in place, beside a dump of the same pages in frames of the machine',
  async run(fixtures) {
    const { workers, options } = fixtures;
    const bytes = Math.min(options.bytes, 1024 * MiB);
    const dumper = await createDumper({ workers });
    const own = fixtures.space({ bytes, run: 0, zeroPercent: 0 });
    const guests = Object.entries(BANKS).map(([name, bankOf]) => {
      return [name, mapped(own, bankOf(bytes), bytes)] as const;
    });
    try {
      const lines: Line[] = [];
      for (const kind of ['file', 'memory'] as const) {
        const spaces = Object.fromEntries([[OWN, own] as const, ...guests]);
        lines.push(...(await linesOf(fixtures, dumper, spaces, kind, bytes)));
      }
      return { lines };
    } finally {
      await dumper.close();
    }
  },
};

/** A machine that has adopted the memory, which holds the same bytes as `own`. */
function mapped(own: AddressSpace, bank: Bank, bytes: number): AddressSpace {
  const [{ start = 0 } = {}] = own.vmas();
  own.read(start, new Uint8Array('buffer' in bank ? bank.buffer : bank));
  const space = createMachine({ memory: 8 * MiB + bytes / 64, banks: [bank] }).createAddressSpace();
  space.mapFrames({ length: bytes, prot: 'rw', address: start });
  return space;
}

async function linesOf(
  fixtures: Fixtures,
  dumper: Dumper,
  spaces: { readonly [name: string]: AddressSpace },
  kind: OutputKind,
  bytes: number,
): Promise<Line[]> {
  const { workers, options } = fixtures;
  const output = openOutput(kind, fixtures, workers);
  const tasks: { [name: string]: Task } = {};
  for (const [name, space] of Object.entries(spaces)) {
    tasks[name] = () => timedDump(dumper, space, output, 'defaults');
  }
  try {
    const samples = await measure(tasks as Tasks, options.rounds);
    const part = kind === 'file' ? ': without fsync' : '';
    return Object.keys(spaces).map((name) => {
      const other = BESIDE[name] ?? OWN;
      const limit = { name: other, samples: samplesOf(samples, `${other}${part}`) };
      return toLine('adopted', {
        name: `${SINKS[kind]}, ${name}`,
        parameters: { MiB: bytes / MiB, workers },
        unit: 'ms',
        samples: samplesOf(samples, `${name}${part}`),
        limit: name === OWN ? undefined : limit,
        bytes,
        note: kind === 'file' ? 'without fsync' : undefined,
      });
    });
  } finally {
    output.release();
  }
}
