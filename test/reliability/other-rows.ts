/** Rows of the other jobs of a dumper: restore, verify, compare, import. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AddressSpace,
  type Comparison,
  createMachine,
  createWorkload,
  fileSink,
  type Machine,
  MiB,
  openImage,
} from 'mmdump';
import { createGate, type Fault } from '../../src/shared/faults.ts';
import { THREADS_MAX } from '../../src/shared/sync/thread-layout.ts';
import { asSource, assertNobodyIsThere } from '../stress/after.ts';
import { inMemory } from '../support/images/images.ts';
import { LOSSES, lossOn, namesWorker } from './dump-case.ts';
import { BOTH, codeOf, type Failed, imageOf, type Lab } from './lab.ts';
import { NOTHING, type Outcome, type Row } from './matrix.ts';

const LOST = { code: 'WORKER_LOST', left: NOTHING };

/** A job of the dumper, and what must hold after it has failed. */
export interface Job {
  readonly phase: 'load' | 'verify' | 'compare' | 'diff' | 'scan' | 'search';
  /** The name in the table's column of sinks. */
  readonly name: string;
  readonly workers: readonly number[];
  run(): Promise<unknown>;
  /** Returns what is left after a failure. Throws where something does not go on. */
  left(): Promise<string>;
  close(): Promise<void>;
}

export type OpenJob = (lab: Lab) => Promise<Job>;

async function jobCase(
  lab: Lab,
  job: Job,
  faults: readonly Fault[],
  check: (error: Failed) => void = () => {},
  meanwhile: () => Promise<void> = async () => {},
): Promise<Outcome> {
  const outcome = await lab.attempt(() => Promise.all([job.run(), meanwhile()]), faults);
  if (outcome !== 'done') check(outcome);
  const left = await job.left();
  await lab.assertAsBefore();
  return { code: codeOf(outcome), left };
}

/** Large enough for several units: those of verify have 4 MiB. */
export const LARGE = 12 * MiB;

const verifyJob: OpenJob = async (lab) => {
  const path = join(lab.folder, 'image.cpt');
  const { space } = await createWorkload('dense', { size: LARGE });
  await lab.pair.dump(space, { to: fileSink(path, { force: true }) });
  return {
    phase: 'verify',
    name: 'reads a file',
    workers: BOTH,
    run: () => lab.pair.verify(path),
    async left() {
      const { ok } = await lab.pair.verify(path);
      return ok ? NOTHING : 'an image that is not sound any more';
    },
    close: async () => rmSync(path),
  };
};

/** Another machine with the same address space. */
const compareJob: OpenJob = async (lab) => {
  const image = await openImage(inMemory(lab.image));
  const { machine, left, close } = emptyMachine(lab);
  const { mms } = await lab.pair.restore(image, machine);
  const restored = await referenceOf(lab);
  const run = (): Promise<Comparison> => lab.pair.compare(restored, mms[0]!);
  return {
    phase: 'compare',
    name: 'two machines',
    workers: BOTH,
    run,
    async left() {
      assertNobodyIsThere(machine);
      const { equal } = await run();
      return equal ? NOTHING : 'a difference';
    },
    async close() {
      mms[0]!.exit(); // the only mm, which `left` would find
      if ((await left()) !== NOTHING) throw new Error('the machine is not as it was');
      await close();
    },
  };
};

const references = new WeakMap<Lab, Promise<AddressSpace>>();

/** Returns what restoring the image of the lab gives when nothing fails. */
export function referenceOf(lab: Lab): Promise<AddressSpace> {
  const known = references.get(lab) ?? restoreReference(lab);
  references.set(lab, known);
  return known;
}

async function restoreReference(lab: Lab): Promise<AddressSpace> {
  const machine = createMachine({ memory: 64 * MiB });
  const { mms } = await lab.pair.restore(await openImage(inMemory(lab.image)), machine);
  return mms[0]!;
}

/** A machine to restore or import into. It must be empty again after a failure. */
export function emptyMachine(lab: Lab): {
  readonly machine: Machine;
  left(): Promise<string>;
  close(): Promise<void>;
} {
  const machine = createMachine({ memory: 64 * MiB, checks: true });
  const { free } = machine.memory;
  return {
    machine,
    async left() {
      assertNobodyIsThere(machine);
      if (machine.addressSpaces().length > 0) return 'an address space';
      const taken = free - machine.memory.free;
      if (taken !== 0) return `${taken} bytes of memory`;
      const { mms } = await lab.pair.restore(await openImage(inMemory(lab.image)), machine);
      const { equal } = await lab.pair.compare(await referenceOf(lab), mms[0]!);
      mms[0]!.exit();
      return equal ? NOTHING : 'a machine that restores other bytes';
    },
    close: async () => {},
  };
}

const restoreJob =
  (from: 'file' | 'memory'): OpenJob =>
  async (lab) => {
    const path = join(lab.folder, 'image.cpt');
    writeFileSync(path, lab.image);
    const empty = emptyMachine(lab);
    return {
      ...empty,
      phase: 'load',
      name: `restore from ${from}`,
      workers: BOTH,
      async run() {
        const image = await openImage(from === 'file' ? path : inMemory(lab.image));
        try {
          const { mms } = await lab.pair.restore(image, empty.machine);
          for (const space of mms) space.exit();
        } finally {
          await image.close();
        }
      },
      close: async () => rmSync(path),
    };
  };

/** Imports a small process, which answers every line while it runs. */
const importJob =
  (phase: 'scan' | 'load'): OpenJob =>
  async (lab) => {
    const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    await echo(child);
    const empty = emptyMachine(lab);
    return {
      ...empty,
      phase,
      name: 'import of a process',
      workers: phase === 'scan' ? BOTH : [0], // it has pages for one unit only
      async run() {
        const { mms } = await lab.pair.importProcess(empty.machine, child.pid!);
        for (const space of mms) space.exit();
      },
      async left() {
        await echo(child); // checks that the process goes on
        return empty.left();
      },
      async close() {
        child.kill('SIGKILL');
        await once(child, 'close');
      },
    };
  };

async function echo(child: ChildProcess): Promise<void> {
  const answer = once(child.stdout!, 'data');
  child.stdin!.write('\n');
  await answer;
}

export function rowsOf(lab: Lab, phase: Job['phase'], name: string, open: OpenJob): Row[] {
  return [...LOSSES].map(([fault, kind]) => ({
    fault,
    phase,
    sink: name,
    expected: LOST,
    async *cases() {
      const job = await open(lab);
      try {
        for (const worker of lab.breadth === 'all' ? job.workers : job.workers.slice(-1)) {
          const at = { point: 'unit', phase, worker, nth: 1 } as const;
          const { faults, meanwhile } = lossOn(lab, kind, at);
          yield jobCase(lab, job, faults, namesWorker(phase, worker), meanwhile);
        }
      } finally {
        await job.close();
      }
    },
  }));
}

/** Ordinals of the requests for frames that fail: all of the first 16, then fewer and fewer. */
function requests(count: number): number[] {
  const all: number[] = [];
  for (let nth = 1; nth <= count; nth += nth < 16 ? 1 : Math.ceil(nth / 4)) all.push(nth);
  return all;
}

/** A load is denied one of the frames that it asks for. */
function frameRow(lab: Lab, name: string, open: OpenJob): Row {
  return {
    fault: 'frame n is denied',
    phase: 'load',
    sink: name,
    expected: { code: 'ENOMEM', left: NOTHING },
    async *cases() {
      const job = await open(lab);
      try {
        const count = await lab.count({ point: 'frame' }, () => job.run());
        const all = requests(count);
        for (const which of lab.passes(all.length)) {
          const nth = all[which - 1]!;
          yield jobCase(lab, job, [{ point: 'frame', nth, action: { kind: 'deny' } }]);
        }
      } finally {
        await job.close();
      }
    },
  };
}

/**
 * A thread ends while it holds locks. If one of them protects a change, what was changed cannot be
 * trusted any more and the machine says so; otherwise the machine goes on.
 */
function diesWithLocksRow(lab: Lab): Row {
  return {
    fault: 'a worker calls process.exit and holds locks',
    phase: 'load',
    sink: 'restore from memory',
    expected: { code: 'WORKER_LOST', left: NOTHING },
    async *cases() {
      const image = await openImage(inMemory(lab.image));
      const run = (machine: Machine): Promise<unknown> => lab.pair.restore(image, machine);
      const count = await lab.count({ point: 'frame' }, () => run(emptyMachine(lab).machine));
      const step = Math.ceil(count / (lab.breadth === 'all' ? 12 : 4));
      for (let nth = 1; nth <= count; nth += step) {
        const { machine, left } = emptyMachine(lab);
        const fault: Fault = { point: 'frame', nth, action: { kind: 'exit' } };
        const outcome = await lab.attempt(() => run(machine), [fault]);
        if (outcome !== 'done') namesWorker('load')(outcome);
        await lab.assertAsBefore();
        yield {
          code: codeOf(outcome),
          left: asSource(machine).parts.threads.isPoisoned ? NOTHING : await left(),
        };
      }
    },
  };
}

/**
 * One thread is terminated while it holds the lock of a file that the other needs for all its
 * pages.
 */
function neededLockRow(lab: Lab): Row {
  return {
    fault: 'a worker is terminated with a lock that the other needs',
    phase: 'load',
    sink: 'restore from memory',
    expected: LOST,
    async *cases() {
      const source = createMachine({ memory: 32 * MiB }).createAddressSpace();
      const length = 8 * MiB;
      const at = source.mmap({ length, prot: 'rw', flags: ['shared', 'anonymous'] });
      source.fill(at, length, 1);
      const image = await openImage(inMemory(await imageOf(lab.pair, source)));
      for (const worker of BOTH) {
        const { machine } = emptyMachine(lab);
        const { files, threads } = asSource(machine).parts;
        for (let nth = 1, hasLock = false; !hasLock; nth++) {
          const gate = createGate();
          const action = { kind: 'hold', gate } as const;
          const fault: Fault = { point: 'frame', worker, nth, action };
          const meanwhile = async (): Promise<void> => {
            const thread = await lab.held(gate);
            for (let id = 0; id < THREADS_MAX; id++) hasLock ||= files.anyLockOwnedBy(id);
            await thread.terminate();
          };
          const job = () => Promise.all([lab.pair.restore(image, machine), meanwhile()]);
          const outcome = await lab.attempt(job, [fault]);
          if (outcome !== 'done') namesWorker('load', worker)(outcome);
          await lab.assertAsBefore();
          if (hasLock) yield { code: codeOf(outcome), left: NOTHING };
          if (hasLock !== threads.isPoisoned) throw new Error('poisoned for no reason, or not');
        }
      }
    },
  };
}

export function otherRows(lab: Lab): Row[] {
  const rows = [
    ...rowsOf(lab, 'load', 'restore from file', restoreJob('file')),
    ...rowsOf(lab, 'load', 'restore from memory', restoreJob('memory')),
    frameRow(lab, 'restore from file', restoreJob('file')),
    frameRow(lab, 'restore from memory', restoreJob('memory')),
    diesWithLocksRow(lab),
    neededLockRow(lab),
    ...rowsOf(lab, 'verify', 'reads a file', verifyJob),
    ...rowsOf(lab, 'compare', 'two machines', compareJob),
  ];
  if (process.platform !== 'linux') return rows; // imports need /proc
  return [
    ...rows,
    ...rowsOf(lab, 'scan', 'import of a process', importJob('scan')),
    ...rowsOf(lab, 'load', 'import of a process', importJob('load')),
    frameRow(lab, 'import of a process', importJob('load')),
  ];
}
