/** Rows of the dump: its workers, its writes, its memory, the calls of its sinks. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileSink, MmdumpError } from 'mmdump';
import { createGate, type Fault, type FaultAction } from '../../src/shared/faults.ts';
import { BOTH, codeOf, type Failed, type Lab, openGate } from './lab.ts';
import { NOTHING, type Outcome, type Row } from './matrix.ts';
import {
  Collector,
  everySink,
  fileTarget,
  memoryTarget,
  streamTarget,
  type Target,
  type TargetKind,
} from './targets.ts';

type Check = (error: Failed) => void;

/** One dump into `target` with faults, and everything that must hold after it. */
export async function dumpCase(
  lab: Lab,
  target: Target,
  faults: readonly Fault[],
  check: Check = () => {},
  meanwhile: (abort: () => void) => Promise<void> = async () => {},
  allHappen = true,
): Promise<Outcome> {
  const { pair, space } = lab;
  const controller = new AbortController();
  const job = (): Promise<unknown> => {
    const { signal } = controller;
    const dump = pair.dump(space, { ...lab.options(target.sink), signal });
    return Promise.all([dump, meanwhile(() => controller.abort())]);
  };
  const outcome = await lab.attempt(job, faults, allHappen);
  if (outcome === 'done') {
    if (!target.taken().equals(lab.image)) throw new Error('the image has other bytes');
  } else {
    check(outcome);
  }
  const left = outcome === 'done' ? NOTHING : target.left();
  await lab.assertAsBefore();
  return { code: codeOf(outcome), left };
}

/** The error says where the output is, and what the system said. */
export function namesOutput(errno: string, path?: string): Check {
  return ({ message, fields }) => {
    const place = path ?? 'the stream';
    if (!message.includes(place)) throw new Error(`${place} is not named: ${message}`);
    if (path !== undefined && fields?.path !== path) throw new Error(`path: ${fields?.path}`);
    if (fields?.errno !== errno) throw new Error(`errno: ${fields?.errno}, expected ${errno}`);
  };
}

/** The error names the worker and the unit that it had. */
export function namesWorker(phase: string, worker?: number): Check {
  return ({ code, message, fields }) => {
    if (code !== 'WORKER_LOST') return;
    const words = `worker ${fields?.worker} (was lost|failed) in ${phase}, unit ${fields?.unit}: .`;
    if (!new RegExp(`^${words}`).test(message)) throw new Error(`no place: ${message}`);
    if (worker !== undefined && fields?.worker !== worker) {
      throw new Error(`worker ${fields?.worker}, expected ${worker}`);
    }
  };
}

/** What can become of a worker. */
export const LOSSES: ReadonlyMap<string, FaultAction['kind']> = new Map([
  ['a worker throws', 'throw'],
  ['a worker calls process.exit', 'exit'],
  ['a worker runs out of memory', 'memory'],
  ['a worker is terminated', 'hold'],
]);

/** The fault of a loss on this worker, and what the test has to do for it. */
export function lossOn(
  lab: Lab,
  kind: FaultAction['kind'],
  fault: Pick<Fault, 'phase' | 'worker' | 'point' | 'nth'>,
): { readonly faults: readonly Fault[]; readonly meanwhile: () => Promise<void> } {
  if (kind !== 'hold') {
    const action = { kind } as FaultAction;
    return { faults: [{ ...fault, action }], meanwhile: async () => {} };
  }
  const gate = createGate();
  return {
    faults: [{ ...fault, action: { kind, gate } }],
    meanwhile: async () => void (await (await lab.held(gate)).terminate()),
  };
}

const IS_LONG = process.env.MMDUMP_LONG === '1';
const LOST = { code: 'WORKER_LOST', left: NOTHING };
const FAILED = { code: 'OUTPUT_FAILED', left: NOTHING };
const DONE = { code: 'done', left: NOTHING };
const DUMP_PHASES = ['classify', 'copy'] as const;

export function lostWorkerRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const [fault, kind] of LOSSES) {
    for (const phase of DUMP_PHASES) {
      for (const [sink, kindOf] of everySink(lab)) {
        rows.push({
          fault,
          phase,
          sink,
          expected: LOST,
          async *cases() {
            // A new thread takes half a second: elsewhere one of them is enough.
            for (const worker of sink === 'file' || IS_LONG ? BOTH : BOTH.slice(1)) {
              const at = { point: 'unit', phase, worker, nth: 1 } as const;
              const { faults, meanwhile } = lossOn(lab, kind, at);
              yield dumpCase(lab, kindOf(lab), faults, namesWorker(phase, worker), meanwhile);
            }
          },
        });
      }
    }
  }
  return rows;
}

/** Each unit is the one that a worker is lost in; and both workers are lost at once. */
export function lostUnitRows(lab: Lab): Row[] {
  return DUMP_PHASES.flatMap((phase) => [
    {
      fault: 'a worker throws at unit n = 1 … all',
      phase,
      sink: 'memory',
      expected: LOST,
      async *cases() {
        const point = { point: 'unit', phase } as const;
        const target = memoryTarget(lab);
        const units = await lab.count(point, () =>
          lab.pair.dump(lab.space, lab.options(target.sink)),
        );
        for (let nth = 1; nth <= units; nth++) {
          const fault: Fault = { ...point, nth, action: { kind: 'throw' } };
          yield dumpCase(lab, memoryTarget(lab), [fault], namesWorker(phase));
        }
      },
    },
    {
      fault: 'both workers call process.exit',
      phase,
      sink: 'file',
      expected: LOST,
      async *cases() {
        const faults = BOTH.map((worker): Fault => {
          return { point: 'unit', phase, worker, nth: 1, action: { kind: 'exit' } };
        });
        yield dumpCase(lab, fileTarget(lab, lab.folder, false), faults, namesWorker(phase, 0));
      },
    },
  ]);
}

/** A worker that is held is no failure: the dump waits for it, or is aborted. */
export function heldRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const isAborted of [false, true]) {
    for (const phase of DUMP_PHASES) {
      for (const [sink, kindOf] of everySink(lab)) {
        rows.push({
          fault: `a worker is held${isAborted ? ', and the dump aborted' : ', and goes on'}`,
          phase,
          sink,
          expected: isAborted ? { code: 'ABORT_ERR', left: NOTHING } : DONE,
          async *cases() {
            for (const worker of BOTH) {
              const gate = createGate();
              const action: FaultAction = { kind: 'hold', gate };
              const fault: Fault = { point: 'unit', phase, worker, nth: 1, action };
              const meanwhile = async (abort: () => void): Promise<void> => {
                await lab.held(gate);
                if (isAborted) abort();
                openGate(gate);
              };
              yield dumpCase(lab, kindOf(lab), [fault], () => {}, meanwhile);
            }
          },
        });
      }
    }
  }
  return rows;
}

/** Every write of a dump into a file fails once, in several ways. */
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
  for (const [sink, kindOf] of everySink(lab)) {
    if (!sink.startsWith('file')) continue;
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
          for (let nth = 1; nth <= writes; nth++) {
            const target = kindOf(lab);
            yield dumpCase(lab, target, [{ point: 'write', nth, action }], (error) => {
              namesOutput(errno!, target.sink.path!)(error);
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

/** No memory: for each table of the dump, each chunk and the slots of a sink. */
export function memoryRows(lab: Lab): Row[] {
  const row = (
    point: 'table' | 'buffer',
    fault: string,
    phase: string,
    sink: string,
    kindOf: TargetKind,
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
      for (let nth = 1; nth <= passes; nth++) {
        yield dumpCase(lab, kindOf(lab), [{ point, nth, action: { kind: 'deny' } }]);
      }
    },
  });
  const rows = [...everySink(lab)].map(([sink, kindOf]) =>
    row('table', 'no memory for table n', 'plan, classify, layout', sink, kindOf, 'ENOMEM'),
  );
  const slots: TargetKind = (one) => streamTarget(one);
  rows.push(
    row('buffer', 'no memory for chunk n', 'reserve', 'memory', memoryTarget, 'OUTPUT_FAILED'),
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
    ['reserve', 'reserve', 'ftruncate fails'],
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
          for (const errno of ERRNOS) {
            const target = kindOf(lab);
            const faults: Fault[] = [{ point, nth: 1, action: { kind: 'errno', errno } }];
            yield dumpCase(lab, target, faults, namesOutput(errno, target.sink.path!));
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

/** File systems without hard links take another way to the name. */
function noLinkRows(lab: Lab): Row[] {
  const row = (fault: string, more: readonly Fault[], expected: Outcome): Row => ({
    fault: `no hard links${fault}`,
    phase: 'commit',
    sink: 'file',
    expected,
    async *cases() {
      for (const errno of ['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK']) {
        const faults = [fails('link', errno), ...more];
        yield dumpCase(lab, fileTarget(lab, lab.folder, false), faults);
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

/** Cleaning up fails, too: what stays is named beside the first error. */
function cleaningRows(lab: Lab): Row[] {
  return [...lab.folders].map(([sink, folder]) => ({
    fault: 'a write fails, then unlink of the temporary file',
    phase: 'copy, abort',
    sink,
    expected: { code: 'OUTPUT_FAILED', left: TEMPORARY },
    async *cases() {
      const target = fileTarget(lab, folder, false);
      const faults = [fails('write', 'ENOSPC'), fails('remove', 'EIO')];
      yield dumpCase(lab, target, faults, (error) => {
        namesOutput('ENOSPC', target.sink.path!)(error);
        if (!/leaves .*\.tmp behind/.test(error.message)) throw new Error(error.message);
      });
    },
  }));
}

/** What the system itself does: nothing is injected. */
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
    const target = fileTarget(lab, folder, false);
    const check = errno === undefined ? () => {} : namesOutput(errno, path);
    return dumpCase(lab, { ...target, sink: fileSink(path) }, [], check);
  };
  return [
    ...row('the output is there, no force', 'open', 'OUTPUT_EXISTS', (folder) => {
      const target = fileTarget(lab, folder, true);
      return dumpCase(lab, { ...target, sink: fileSink(target.sink.path!) }, []);
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
  const target = fileTarget(lab, folder, true);
  rmSync(path);
  const sink = fileSink(path);
  // It was not there when the dump began; in a directory that is gone nothing can be left.
  const isGone = (): boolean =>
    folder !== lab.folder && ![...lab.folders.values()].includes(folder);
  const left = (): string => (isGone() ? NOTHING : target.left());
  return dumpCase(
    lab,
    { ...target, sink, left },
    [fault],
    () => {},
    async () => {
      await lab.held(gate);
      happen(path);
      openGate(gate);
    },
  );
}

/** A stream that goes wrong at chunk n, for every n. */
export function streamRows(lab: Lab): Row[] {
  const noSpace = (): Error =>
    Object.assign(new Error('ENOSPC: no space left, write'), { code: 'ENOSPC' });
  const ways: [string, (stream: Collector, done: (error?: Error) => void) => void][] = [
    ['the stream fails at chunk n: ENOSPC', (_stream, done) => done(noSpace())],
    ['the stream is destroyed at chunk n', (stream) => void stream.destroy()],
    [
      'the stream is destroyed with an error at chunk n',
      (stream) => void stream.destroy(noSpace()),
    ],
  ];
  const rows = ways.map(
    ([fault, instead]): Row => ({
      fault,
      phase: 'copy',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        const chunks = await chunkCount(lab);
        for (let nth = 1; nth <= chunks; nth++) {
          const target = streamTarget(lab, new Collector(nth, instead));
          yield dumpCase(lab, target, [], (error) => {
            if (!error.message.startsWith('the stream cannot be written')) throw error;
            if (fault.includes('error')) namesOutput('ENOSPC')(error);
          });
        }
      },
    }),
  );
  rows.push({
    fault: 'somebody ends the stream at chunk n',
    phase: 'copy',
    sink: 'stream',
    expected: FAILED,
    async *cases() {
      const chunks = await chunkCount(lab);
      for (let nth = 1; nth < chunks; nth++) {
        const stream = new Collector(nth, (one, done) => {
          one.end();
          setImmediate(done);
        });
        yield dumpCase(lab, streamTarget(lab, stream), []);
      }
    },
  });
  return [...rows, ...endRows(lab)];
}

/** The end of the stream: its last bytes leave it after the last chunk was taken. */
function endRows(lab: Lab): Row[] {
  class FailsAtEnd extends Collector {
    override _final(done: (error?: Error) => void): void {
      done(Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' }));
    }
  }
  return [
    {
      fault: 'the stream fails at its end: EIO',
      phase: 'commit',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        yield dumpCase(lab, streamTarget(lab, new FailsAtEnd()), [], namesOutput('EIO'));
      },
    },
    {
      fault: 'the stream has ended before',
      phase: 'open',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        const stream = new Collector();
        stream.end();
        const target = streamTarget(lab, stream);
        const left = (): string => (stream.chunks.length === 0 ? NOTHING : 'bytes');
        yield dumpCase(lab, { ...target, left }, []);
      },
    },
  ];
}

async function chunkCount(lab: Lab): Promise<number> {
  const stream = new Collector();
  await lab.pair.dump(lab.space, lab.options(streamTarget(lab, stream).sink));
  if (stream.chunks.length < 2) throw new MmdumpError('OPTION_INVALID', 'one chunk only');
  return stream.chunks.length;
}
