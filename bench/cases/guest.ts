/**
 * The guest of an emulator, whose RAM the machine has adopted with marks: 1 % of its pages change,
 * and then it is rewound, or dumped to memory with a parent. Each is done by marks and by comparing
 * bytes, in turn.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Tasks, timed } from '../measure.ts';

const AT = 0x4000_0000;
/** Neighbouring changes lie so far apart that they are spread over all tables. */
const STRIDE = 97;

interface Guest {
  readonly machine: Machine;
  readonly mm: AddressSpace;
  /** Changes 1 % of the pages and marks them. */
  change(): void;
}

export const guest: BenchCase = {
  name: 'guest',
  about: 'adopted guest RAM of which 1 % has changed: rewinds and dumps by marks and by comparing',
  async run({ options, workers }) {
    const bytes = Math.min(options.bytes, 512 * MiB);
    const dumper = await createDumper({ workers });
    const one = guestOf(bytes);
    try {
      const rewinds = await rewindLines(one, bytes, options.rounds);
      return { lines: [...rewinds, ...(await dumpLines(one, dumper, bytes, options.rounds))] };
    } finally {
      await dumper.close();
      one.machine.close();
    }
  },
};

function guestOf(bytes: number): Guest {
  const pages = bytes / PAGE_SIZE;
  const memory = new SharedArrayBuffer(bytes);
  const dirty = new Uint8Array(new SharedArrayBuffer(pages));
  const words = new Int32Array(memory);
  for (let page = 0; page < pages; page++) words[page * 1024] = page + 1;
  const machine = createMachine({
    memory: bytes * 2.25 + 32 * MiB, // two snapshots copy the RAM
    maxAddressSpaces: 4,
    banks: [{ memory, dirty }],
  });
  const mm = machine.createAddressSpace();
  mm.mapFrames({ length: bytes, prot: 'rw', address: AT });
  let round = 0;
  const change = (): void => {
    round++;
    for (let index = 0; index < pages / 100; index++) {
      const page = (index * STRIDE) % pages;
      words[page * 1024 + 5] = round;
      dirty[page] = 1;
    }
  };
  return { machine, mm, change };
}

async function rewindLines({ machine, change }: Guest, bytes: number, rounds: number) {
  const compared = machine.snapshot();
  const trusted = machine.snapshot({ trustMarks: true });
  const rewind = (snapshot: typeof compared) => async () => {
    change();
    return timed(async () => snapshot.rewind());
  };
  const samples = await measure(
    { compared: rewind(compared), trusted: rewind(trusted) },
    rounds,
    3,
  );
  compared.drop();
  trusted.drop();
  return linesOf(samples, bytes, { trusted: 'rewind by marks', compared: 'rewind by comparing' });
}

async function dumpLines({ mm, change }: Guest, dumper: Dumper, bytes: number, rounds: number) {
  const first = memorySink();
  const to = memorySink();
  await dumper.dump(mm, { to: first, track: true });
  const parent = await openImage(first.image);
  const rest = memorySink();
  await dumper.dump(mm, { to: rest, parent, changes: 'digests' }); // the parent is digested once
  const dump = (changes: 'dirty' | 'digests') => async () => {
    change();
    return timed(() => dumper.dump(mm, { to, parent, changes }));
  };
  const tasks: Tasks = { bits: dump('dirty'), digests: dump('digests') };
  const samples = await measure(tasks, rounds, 3);
  await parent.close();
  return linesOf(samples, bytes, {
    bits: 'dump with a parent, by dirty bits',
    digests: 'dump with a parent, by digests',
  });
}

/** A line for each name. The first is compared with the second. */
function linesOf(
  samples: Parameters<typeof samplesOf>[0],
  bytes: number,
  names: { readonly [key: string]: string },
): Line[] {
  const keys = Object.keys(names);
  const other = keys[1]!;
  const limit = { name: names[other]!, samples: samplesOf(samples, other) };
  return keys.map((key) => {
    return toLine('guest', {
      name: names[key]!,
      parameters: { MiB: bytes / MiB },
      unit: 'ms',
      samples: samplesOf(samples, key),
      limit: key === other ? undefined : limit,
    });
  });
}
