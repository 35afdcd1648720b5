/** Rows of the writes of a dump, its memory, and the calls of its file sink. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileSink } from 'mmdump';
import { createGate, type Fault, type FaultAction } from '../../src/shared/faults.ts';
import {
  type DestinationKind,
  everySink,
  fileDestination,
  memoryDestination,
  splitSinks,
  streamDestination,
} from './destinations.ts';
import { DONE, dumpCase, FAILED, namesOutput } from './dump-case.ts';
import { type Lab, openGate } from './lab.ts';
import { NOTHING, type Outcome, type Row } from './matrix.ts';

/** Each write of a dump into a file fails once, in several ways. */
export function writeRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  const actions: [string, FaultAction, string | null][] = [
    ['write n fails: ENOSPC', { kind: 'errno', errno: 'ENOSPC' }, 'ENOSPC'],
    ['write n fails: EIO', { kind: 'errno', errno: 'EIO' }, 'EIO'],
    ['write n fails: EDQUOT', { kind: 'errno', errno: 'EDQUOT' }, 'EDQUOT'],
    ['write n writes nothing', { kind: 'short', bytes: 0 }, 'EIO'],
    ['write n is short: 1 byte', { kind: 'short', bytes: 1 }, null],
    ['write n is short: 4095 bytes', { kind: 'short', bytes: 4095 }, null],
  ];
  for (const [sink, kindOf] of [...everySink(lab), ...splitSinks()]) {
    if (!sink.startsWith('file') && sink !== 'split') continue;
    for (const [fault, action, errno] of actions) {
      rows.push({
        fault,
        phase: 'copy',
        sink,
        expected: errno === null ? DONE : FAILED,
        async *cases() {
          const counted = kindOf(lab);
          const { options, pair, space } = lab;
          const writes = await lab.count({ point: 'write' }, () =>
            pair.dump(space, options(counted.sink)),
          );
          counted.taken();
          for (const nth of lab.passes(writes)) {
            const destination = kindOf(lab);
            yield dumpCase(lab, destination, [{ point: 'write', nth, action }], (error) => {
              namesOutput(errno!, destination.sink.path!)(error);
              const offset = Number(error.fields?.offset);
              if (!error.message.includes(`byte ${offset}`)) throw new Error(error.message);
            });
          }
        },
      });
    }
  }
  return rows;
}

/** Memory is denied: for each table of the dump, for each chunk and for the slots of a sink. */
export function memoryRows(lab: Lab): Row[] {
  const row = (
    point: 'table' | 'buffer',
    fault: string,
    phase: string,
    sink: string,
    kindOf: DestinationKind,
    code: string,
  ): Row => ({
    fault,
    phase,
    sink,
    expected: { code, left: NOTHING },
    async *cases() {
      const counted = kindOf(lab);
      const job = () => lab.pair.dump(lab.space, lab.options(counted.sink));
      const passes = await lab.count({ point }, job);
      counted.taken();
      for (const nth of lab.passes(passes)) {
        yield dumpCase(lab, kindOf(lab), [{ point, nth, action: { kind: 'deny' } }]);
      }
    },
  });
  const rows = [...everySink(lab)].map(([sink, kindOf]) =>
    row('table', 'no memory for table n', 'plan', sink, kindOf, 'ENOMEM'),
  );
  const slots: DestinationKind = (one) => streamDestination(one);
  rows.push(
    row('buffer', 'no memory for chunk n', 'reserve', 'memory', memoryDestination, 'OUTPUT_FAILED'),
    row('buffer', 'no memory for the slots', 'reserve', 'stream', slots, 'OUTPUT_FAILED'),
  );
  return rows;
}

const ERRNOS = ['EIO', 'ENOSPC', 'EACCES', 'EROFS'] as const;
const WHOLE = 'the new image, whole, as the message says';
const TEMPORARY = 'the temporary file, which the message names';

/** Each call of the file sink fails. */
export function callRows(lab: Lab): Row[] {
  const calls = [
    ['look', 'open', 'lstat of the output fails'],
    ['directory', 'open', 'the directory cannot be opened'],
    ['create', 'open', 'the temporary file cannot be created'],
    ['reserve', 'seal', 'ftruncate fails'],
    ['sync', 'commit', 'fsync fails'],
    ['link', 'commit', 'link fails'],
    ['rename', 'commit', 'rename fails'],
    ['remove', 'commit', 'unlink of the temporary name fails'],
    ['syncDirectory', 'commit', 'fsync of the directory fails'],
  ] as const;
  const rows: Row[] = [];
  for (const [sink, kindOf] of everySink(lab)) {
    if (!sink.startsWith('file')) continue;
    const isForced = sink.endsWith('force');
    for (const [point, phase, fault] of calls) {
      if (isForced ? point === 'link' || point === 'remove' : point === 'rename') continue;
      const left = isForced && point === 'syncDirectory' ? WHOLE : NOTHING;
      rows.push({
        fault,
        phase,
        sink,
        expected: { code: 'OUTPUT_FAILED', left },
        async *cases() {
          for (const errno of lab.ways(ERRNOS)) {
            const destination = kindOf(lab);
            const faults: Fault[] = [{ point, nth: 1, action: { kind: 'errno', errno } }];
            yield dumpCase(lab, destination, faults, namesOutput(errno, destination.sink.path!));
          }
        },
      });
    }
  }
  return [...rows, ...noLinkRows(lab), ...cleaningRows(lab)];
}

const fails = (point: Fault['point'], errno: string, nth = 1): Fault => {
  return { point, nth, action: { kind: 'errno', errno } };
};

/** File systems without hard links need other calls to give the file its name. */
function noLinkRows(lab: Lab): Row[] {
  const row = (fault: string, more: readonly Fault[], expected: Outcome): Row => ({
    fault: `no hard links${fault}`,
    phase: 'commit',
    sink: 'file',
    expected,
    async *cases() {
      for (const errno of lab.ways(['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK'])) {
        const faults = [fails('link', errno), ...more];
        yield dumpCase(lab, fileDestination(lab, lab.folder, false), faults);
      }
    },
  });
  return [
    row('', [], DONE),
    row(', the name cannot be taken', [fails('create', 'EACCES', 2)], FAILED),
    row(', the name is taken', [fails('create', 'EEXIST', 2)], {
      code: 'OUTPUT_EXISTS',
      left: NOTHING,
    }),
    row(', rename fails', [fails('rename', 'EIO')], FAILED),
  ];
}

/** Cleaning up fails as well: the error names what stays, after the first failure. */
function cleaningRows(lab: Lab): Row[] {
  return [...lab.folders].map(([sink, folder]) => ({
    fault: 'a write fails, then unlink of the temporary file',
    phase: 'copy, abort',
    sink,
    expected: { code: 'OUTPUT_FAILED', left: TEMPORARY },
    async *cases() {
      const destination = fileDestination(lab, folder, false);
      const faults = [fails('write', 'ENOSPC'), fails('remove', 'EIO')];
      yield dumpCase(lab, destination, faults, (error) => {
        namesOutput('ENOSPC', destination.sink.path!)(error);
        if (!/leaves .*\.tmp behind/.test(error.message)) throw new Error(error.message);
      });
    },
  }));
}

/** Failures of the system itself: nothing is injected. */
export function placeRows(lab: Lab): Row[] {
  const row = (
    fault: string,
    phase: string,
    code: string,
    run: (folder: string) => Promise<Outcome>,
  ): Row[] =>
    [...lab.folders].map(([sink, folder]) => ({
      fault,
      phase,
      sink,
      expected: { code, left: NOTHING },
      async *cases() {
        yield run(folder);
      },
    }));
  const elsewhere = (folder: string, path: string, errno?: string): Promise<Outcome> => {
    const destination = fileDestination(lab, folder, false);
    const check = errno === undefined ? () => {} : namesOutput(errno, path);
    return dumpCase(lab, { ...destination, sink: fileSink(path) }, [], check);
  };
  return [
    ...row('the output is there, no force', 'open', 'OUTPUT_EXISTS', (folder) => {
      const destination = fileDestination(lab, folder, true);
      return dumpCase(lab, { ...destination, sink: fileSink(destination.sink.path!) }, []);
    }),
    ...row('the output appears meanwhile', 'commit', 'OUTPUT_EXISTS', (folder) =>
      whileCopying(lab, folder, (path) => writeFileSync(path, 'what was there before')),
    ),
    ...row('the directory is removed meanwhile', 'commit', 'OUTPUT_FAILED', async (folder) => {
      const inner = join(folder, 'inner');
      mkdirSync(inner);
      return whileCopying(lab, inner, () => rmSync(inner, { recursive: true }));
    }),
    ...row('no such directory', 'open', 'OUTPUT_FAILED', (folder) =>
      elsewhere(folder, join(folder, 'none', 'image.cpt'), 'ENOENT'),
    ),
    ...row('the name is too long', 'open', 'OUTPUT_FAILED', (folder) =>
      elsewhere(folder, join(folder, 'n'.repeat(300)), 'ENAMETOOLONG'),
    ),
    ...row('the output is a directory', 'open', 'OUTPUT_FAILED', (folder) =>
      elsewhere(folder, `${folder}/.`),
    ),
  ];
}

/** Something happens to the output while a worker is held in the copy phase. */
async function whileCopying(
  lab: Lab,
  folder: string,
  happen: (path: string) => void,
): Promise<Outcome> {
  const gate = createGate();
  const path = join(folder, 'image.cpt');
  const action: FaultAction = { kind: 'hold', gate };
  const fault: Fault = { point: 'unit', phase: 'copy', nth: 1, action };
  const destination = fileDestination(lab, folder, true);
  rmSync(path);
  const sink = fileSink(path);
  // The output did not exist when the dump began. In a directory that is gone nothing can be left.
  const isGone = (): boolean =>
    folder !== lab.folder && ![...lab.folders.values()].includes(folder);
  const left = (): string => (isGone() ? NOTHING : destination.left());
  return dumpCase(
    lab,
    { ...destination, sink, left },
    [fault],
    () => {},
    async () => {
      await lab.held(gate);
      happen(path);
      openGate(gate);
    },
  );
}
