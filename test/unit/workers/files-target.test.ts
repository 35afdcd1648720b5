/** Writes into the parts of an image and reads from them, and compares with one plain buffer. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { partPath } from '../../../src/shared/formats/parts.ts';
import { deliver, type FilesTarget } from '../../../src/workers/output/deliver.ts';
import { Reader } from '../../../src/workers/task/read-at.ts';
import { codeOf } from '../../support/machine/machine.ts';

const PART = 8192;
const BYTES = 3 * PART + 1000;
/** Bytes that differ everywhere, except for one part that begins with a block of zeros. */
const WHOLE = new Uint8Array(BYTES).map((_, at) =>
  at >= PART && at < PART + 4096 ? 0 : at * 7 + 1,
);

let folder: string;
let fds: number[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-parts-'));
  fds = [0, 1, 2, 3].map((part) => openSync(partPath(join(folder, 'a'), part), 'w+'));
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(folder, { recursive: true });
});

function target(sparse: boolean): FilesTarget {
  const claims = new SharedArrayBuffer(0);
  return {
    kind: 'parts',
    fds,
    path: join(folder, 'a'),
    partBytes: PART,
    sparse,
    firstUnits: [],
    claims,
  };
}

/** Writes all bytes, in pieces of `pieceBytes`. */
function deliverAll(sparse: boolean, pieceBytes: number): void {
  for (let at = 0; at < BYTES; at += pieceBytes) {
    deliver(target(sparse), WHOLE.slice(at, at + pieceBytes), at, undefined);
  }
}

const joined = (): Buffer =>
  Buffer.concat(fds.map((_, part) => readFileSync(partPath(join(folder, 'a'), part))));

describe('what is delivered to parts', () => {
  // Less than a part and no divisor of it, one part, a little more than two parts, everything.
  it.for([[1000], [5000], [PART], [2 * PART + 8], [BYTES]] as const)(
    'in pieces of %i bytes is the image when the parts are joined',
    ([pieceBytes]) => {
      for (const sparse of [false, true]) {
        deliverAll(sparse, pieceBytes);
        expect(joined().equals(WHOLE), `sparse: ${sparse}`).toBe(true);
      }
    },
  );

  it('names the part that cannot be written, and the byte in it', () => {
    const closed = fds.with(2, openSync(folder, 'r'));
    const fail = (): void => {
      deliver(
        { ...target(false), fds: closed } as FilesTarget,
        WHOLE.slice(0, 8),
        2 * PART - 4,
        undefined,
      );
    };
    expect(codeOf(fail)).toBe('OUTPUT_FAILED');
    expect(fail).toThrow(/a\.002: write at byte 0 failed/);
    closeSync(closed[2]!);
  });
});

describe('a reader of parts', () => {
  it('gives every range of the image, across any number of parts', () => {
    deliverAll(false, BYTES);
    const reader = new Reader({ kind: 'parts', name: "image 'a'", fds, partBytes: PART });
    const edges = [0, 1, 4096, PART - 1, PART, PART + 1, 2 * PART + 5, 3 * PART, BYTES - 1, BYTES];
    for (const from of edges) {
      for (const to of edges.filter((edge) => edge > from)) {
        const into = new Uint8Array(to - from + 3);
        reader.read(into, 3, to - from, from);
        expect(Buffer.compare(into.subarray(3), WHOLE.subarray(from, to)), `${from}-${to}`).toBe(0);
      }
    }
  });

  it('says at which byte of the image it ends', () => {
    deliverAll(false, BYTES);
    const reader = new Reader({ kind: 'parts', name: "image 'a'", fds, partBytes: PART });
    const beyond = (): void => reader.read(new Uint8Array(9), 0, 9, BYTES - 1);
    expect(codeOf(beyond)).toBe('INPUT_FAILED');
    expect(beyond).toThrow(`image 'a': read at byte ${BYTES} failed`);
    const behind = (): void => reader.read(new Uint8Array(9), 0, 9, 4 * PART);
    expect(behind).toThrow(`image 'a': read at byte ${4 * PART} failed`);
  });
});
