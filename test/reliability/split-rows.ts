/** Rows of the calls of a sink that writes an image in parts: each call, for each part. */
import { writeFileSync } from 'node:fs';
import { createGate, type Fault, type FaultPoint } from '../../src/shared/faults.ts';
import { OLD_FILES, PARTS, splitDestination, splitSinks } from './destinations.ts';
import { dumpCase, FAILED, namesOutput } from './dump-case.ts';
import { type Lab, openGate } from './lab.ts';
import { NOTHING, type Outcome, type Row } from './matrix.ts';

const ASIDE = 'an old part under another name, which the message names';

const fails = (point: FaultPoint, nth: number): Fault => {
  return { point, nth, action: { kind: 'errno', errno: 'EIO' } };
};

/** Passes `first` to `last` of a point, with one case for each. */
interface Call {
  readonly point: FaultPoint;
  readonly phase: string;
  readonly fault: string;
  readonly first: number;
  readonly last: number;
}

const CALLS: readonly Call[] = [
  call('look', 'open', 'lstat of the output fails', 1),
  call('list', 'open', 'the directory cannot be listed', 1),
  call('directory', 'open', 'the directory cannot be opened', 1),
  call('create', 'open', 'the temporary file cannot be created', 1),
  call('create', 'reserve', 'the temporary file of part n cannot be created', 2, PARTS),
  call('reserve', 'reserve', 'ftruncate of part n fails', 1, PARTS),
  call('sync', 'commit', 'fsync of part n fails', 1, PARTS),
  call('list', 'commit', 'the directory cannot be listed', 2),
  call('link', 'commit', 'link of part n fails', 1, PARTS),
  call('remove', 'commit', 'unlink of the temporary name of part n fails', 1, PARTS),
  call('syncDirectory', 'commit', 'fsync n of the directory fails', 1, 2),
];

function call(point: FaultPoint, phase: string, fault: string, first: number, last = first): Call {
  return { point, phase, fault, first, last };
}

export function splitRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const [sink, kindOf] of splitSinks()) {
    for (const { point, phase, fault, first, last } of CALLS) {
      rows.push({
        fault,
        phase,
        sink,
        expected: FAILED,
        async *cases() {
          for (let nth = first; nth <= last; nth++) {
            const destination = kindOf(lab);
            yield dumpCase(
              lab,
              destination,
              [fails(point, nth)],
              namesOutput('EIO', destination.sink.path!),
            );
          }
        },
      });
    }
  }
  return [...rows, ...forceRows(lab), appearsRow(lab)];
}

/** What was there is set aside first, is put back if anything fails, and is removed last. */
function forceRows(lab: Lab): Row[] {
  const row = (
    fault: string,
    faultsOf: (nth: number) => readonly Fault[],
    left: string,
    words = '',
  ): Row => ({
    fault,
    phase: 'commit',
    sink: 'split, force',
    expected: { code: 'OUTPUT_FAILED', left },
    async *cases() {
      for (const nth of lab.passes(OLD_FILES)) {
        const destination = splitDestination(lab, true);
        yield dumpCase(lab, destination, faultsOf(nth), (error) => {
          namesOutput('EIO', destination.sink.path!)(error);
          if (!error.message.includes(words)) throw new Error(error.message);
        });
      }
    },
  });
  const notBack = (nth: number): Fault[] => [fails('link', 2), fails('rename', OLD_FILES + nth)];
  const notGone = (nth: number): Fault[] => [fails('remove', PARTS + nth)];
  return [
    row('old file n cannot be set aside', (nth) => [fails('rename', nth)], NOTHING),
    row('a link fails, then old file n cannot be put back', notBack, ASIDE, 'was set aside'),
    row(
      'unlink of old file n fails, all else is done',
      notGone,
      `the new image, whole; ${ASIDE}`,
      'is whole',
    ),
  ];
}

/**
 * Somebody creates a file with the name of the output, of a part, or of a part beyond the last,
 * while the image is written.
 */
function appearsRow(lab: Lab): Row {
  return {
    fault: 'the output appears meanwhile',
    phase: 'commit',
    sink: 'split',
    expected: { code: 'OUTPUT_EXISTS', left: NOTHING },
    async *cases() {
      for (const suffix of ['', '.000', '.002', '.007']) yield appears(lab, suffix);
    },
  };
}

async function appears(lab: Lab, suffix: string): Promise<Outcome> {
  const gate = createGate();
  const held: Fault = { point: 'unit', phase: 'copy', nth: 1, action: { kind: 'hold', gate } };
  const destination = splitDestination(lab, false);
  const path = `${destination.sink.path}${suffix}`;
  const left = (): string => {
    const found = destination.left();
    return found === `image.cpt${suffix}` ? NOTHING : `${found}, expected only ${path}`;
  };
  return dumpCase(
    lab,
    { ...destination, left },
    [held],
    () => {},
    async () => {
      await lab.held(gate);
      writeFileSync(path, 'what has come meanwhile');
      openGate(gate);
    },
  );
}
