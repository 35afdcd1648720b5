/**
 * Machines without a zero page, when pages come from outside and when threads attach. Invariants
 * checked:
 *  - what a restore or an import puts into one shows no zero page, reads the same, and has true
 *    tables and counts like any other
 *  - a thread that attaches handles its read faults as the machine's creator chose
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  importProcess,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  readPageStruct,
  readPte,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { started } from '../support/programs/cli.ts';

const BASE = 0x4000_0000;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

function assertTrue(machine: Machine): void {
  assertTablesTrue(machine as never);
}

/**
 * Pages that were read, written, read and not touched, and a granule with advice 'hugepage' that
 * was read.
 */
function sourceSpace(zeroPage: boolean): AddressSpace {
  const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 2, zeroPage });
  const space = machine.createAddressSpace();
  space.mmap({ ...ANON, address: BASE, length: 4 * PAGE_SIZE });
  space.read(BASE, new Uint8Array(1));
  space.fill(BASE + PAGE_SIZE, PAGE_SIZE, 7);
  space.read(BASE + 2 * PAGE_SIZE, new Uint8Array(1));
  space.mmap({ ...ANON, address: BASE + 4 * MiB, length: 2 * MiB });
  space.madvise(BASE + 4 * MiB, 2 * MiB, 'hugepage');
  space.read(BASE + 4 * MiB, new Uint8Array(1));
  return space;
}

function flagsAt(machine: Machine, space: AddressSpace, address: number): readonly string[] {
  return readPageStruct(machine, readPte(space, address).pfn).flags;
}

describe('an image', () => {
  it.each([
    [true, false],
    [false, false],
    [false, true],
    [true, true],
  ])('of a machine with a zero page: %s, restored into one with: %s', async (from, to) => {
    const space = sourceSpace(from);
    const sink = memorySink();
    const report = await dumper.dump(space, { to: sink });
    expect(report.mms[0]!.pages).toMatchObject({ copy: 1, zero: 514, absent: 1 });
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1, zeroPage: to });
    const { free } = machine.memory;
    const { mms } = await dumper.restore(await openImage(sink.image), machine);
    const [restored] = mms as [AddressSpace];
    expect(await dumper.compare(space, restored)).toMatchObject({ equal: true, difference: null });
    const zero = to ? ['reserved', 'zero'] : ['anon', 'swapbacked'];
    expect([...flagsAt(machine, restored, BASE)].sort()).toEqual(zero);
    const pages = Math.floor((free - machine.memory.free) / PAGE_SIZE);
    expect(pages >= 515).toBe(!to);
    assertTrue(machine);
    restored.fill(BASE, PAGE_SIZE, 9);
    assertTrue(machine);
  });

  it('holds what was only read as bytes if it was asked to, whatever the machine', async () => {
    for (const zeroPage of [true, false]) {
      const options = { to: memorySink(), zeroPages: 'copy' } as const;
      const report = await dumper.dump(sourceSpace(zeroPage), options);
      expect(report.mms[0]!.pages).toMatchObject({ copy: 515, zero: 0, absent: 1 });
    }
  });
});

it('a thread that attaches takes read faults as the machine does', async () => {
  for (const zeroPage of [true, false]) {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1, zeroPage });
    const space = machine.createAddressSpace();
    space.mmap({ ...ANON, address: BASE, length: PAGE_SIZE });
    const code = `
      const { workerData } = require('node:worker_threads');
      import(workerData.entry).then(({ attach }) => {
        const space = attach(workerData.handle);
        space.read(workerData.at, new Uint8Array(1));
        space.mm.machine.detach();
      });`;
    const entry = new URL('../../dist/main/index.js', import.meta.url).href;
    const workerData = { entry, handle: space.handle, at: BASE };
    const [status] = await once(new Worker(code, { eval: true, workerData }), 'exit');
    expect(status).toBe(0);
    expect(flagsAt(machine, space, BASE).includes('zero')).toBe(zeroPage);
  }
});

it('a process comes into a machine without a zero page, and reads the same', async (context) => {
  const child = await started("console.log('up'); process.stdin.resume()");
  try {
    const machines: Machine[] = [];
    const spaces: AddressSpace[] = [];
    let told = -1;
    for (const zeroPage of [true, false]) {
      const machineFor = (bytes: number, maxAddressSpaces: number, zeroBytes: number): Machine => {
        told = zeroBytes;
        machines.push(createMachine({ memory: bytes + zeroBytes, maxAddressSpaces, zeroPage }));
        return machines.at(-1)!;
      };
      child.kill('SIGSTOP'); // the process stands still during both imports
      const result = await importProcess(machineFor, child.pid!, { dumper }).catch((error) => {
        if (error.code === 'PROCESS_DENIED') context.skip('no process may be read here');
        throw error;
      });
      expect(told).toBe(result.processes[0]!.zeroPages * PAGE_SIZE);
      spaces.push(result.mms[0]!);
    }
    const [one, other] = spaces as [AddressSpace, AddressSpace];
    expect(await dumper.compare(one, other)).toMatchObject({ equal: true, difference: null });
    for (const machine of machines) assertTrue(machine);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
