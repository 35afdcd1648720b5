/** The pure functions of ELF core files: what they encode they decode, and they bound every length. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeFileNote,
  encodeFileNote,
  type FileRange,
} from '../../../src/shared/formats/elf/file-note.ts';
import {
  decodeHeader,
  decodeSegmentCount,
  encodeHeader,
  encodeSection,
  PN_XNUM,
} from '../../../src/shared/formats/elf/header.ts';
import {
  CORE_NOTE_TYPE,
  encodeNote,
  joinBytes,
  listNotes,
  normalNotes,
} from '../../../src/shared/formats/elf/notes.ts';
import {
  auxvValue,
  decodeThread,
  emptyThread,
} from '../../../src/shared/formats/elf/process-notes.ts';
import {
  headerBytes,
  putSegment,
  type Segment,
  SegmentTable,
} from '../../../src/shared/formats/elf/segments.ts';
import { viewOf } from '../../../src/shared/formats/elf/words.ts';
import { ImageProblem } from '../../../src/shared/formats/problem.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';

const SIZE = 1 << 30;
const LOAD: Segment = {
  type: 1,
  flags: 6,
  offset: 0x1000,
  address: 0x40_0000,
  fileBytes: 0x2000,
  bytes: 0x3000,
  align: 4096,
};

/** The code and the message with which `job` refuses. */
function refusal(job: () => unknown): string {
  try {
    job();
  } catch (error) {
    if (error instanceof ImageProblem) return `${error.problem.code}: ${error.message}`;
    throw error;
  }
  return 'accepted';
}

function tableOf(segments: readonly Segment[], size = SIZE): SegmentTable {
  const bytes = new Uint8Array(headerBytes(segments.length));
  for (const [at, segment] of segments.entries())
    putSegment(viewOf(bytes), headerBytes(at), segment);
  const table = new SegmentTable(segments.length);
  table.addHeaders(bytes, 64, size);
  table.sort();
  return table;
}

describe('the header of a core', () => {
  it('is that of a Linux core of x86-64, and gives the number of segments', () => {
    const bytes = encodeHeader({ phoff: 0x1_2345_6000, segments: 65_534 });
    expect(Buffer.from(bytes.subarray(0, 20)).toString('hex')).toBe(
      '7f454c4602010103000000000000000004003e00',
    );
    expect(decodeHeader(bytes)).toEqual({ phoff: 0x1_2345_6000, phnum: 65_534, shoff: 0 });
  });

  it('leaves a number of segments that has no room to section header 0', () => {
    const bytes = encodeHeader({ phoff: 0x1000, segments: 65_535 });
    const shoff = 0x1000 + 65_535 * 56;
    expect(decodeHeader(bytes)).toEqual({ phoff: 0x1000, phnum: PN_XNUM, shoff });
    expect(decodeSegmentCount(encodeSection(1_000_000))).toBe(1_000_000);
  });

  it('of anything else is refused with one line', () => {
    const good = encodeHeader({ phoff: 64, segments: 1 });
    const change = (at: number, value: number): Uint8Array => {
      const bytes = good.slice();
      bytes[at] = value;
      return bytes;
    };
    const rows: readonly (readonly [Uint8Array, string])[] = [
      [new Uint8Array(0), 'IMAGE_NOT_RECOGNISED: it is no ELF file'],
      [change(0, 0x7e), 'IMAGE_NOT_RECOGNISED: it is no ELF file'],
      [good.subarray(0, 40), 'IMAGE_TRUNCATED: it ends at byte 40, in its header'],
      [change(4, 1), 'IMAGE_VERSION: it is a 32-bit ELF file, and only 64-bit ones are read'],
      [change(5, 2), 'IMAGE_VERSION: it is big-endian, and only little-endian files are read'],
      [change(16, 2), 'IMAGE_NOT_RECOGNISED: it is an executable, not a core file'],
      [
        change(18, 183),
        'IMAGE_VERSION: it is a core of ELF machine 183, and only x86-64 (62) is read',
      ],
      [change(56, 0), 'IMAGE_CORRUPT: it has no program headers'],
      [change(54, 57), 'IMAGE_CORRUPT: its program headers have 57 bytes, expected 56'],
    ];
    for (const [bytes, message] of rows) expect(refusal(() => decodeHeader(bytes))).toBe(message);
  });
});

describe('segments', () => {
  it('are sorted by address, in whatever order they stand', () => {
    const table = tableOf([
      { ...LOAD, address: 0x80_0000, offset: 0x9000, flags: 5 },
      { ...LOAD, type: 4, address: 0, offset: 0x200, fileBytes: 0x100, bytes: 0 },
      LOAD,
      { ...LOAD, address: 0xffff_ffff_ff60_0000 },
    ]);
    const seen = [0, 1].map((at) => [table.address(at), table.offset(at), table.flags(at)]);
    expect(seen).toEqual([
      [0x40_0000, 0x1000, 6],
      [0x80_0000, 0x9000, 5],
    ]);
    expect([table.count, table.leftOut]).toEqual([2, 0x3000]);
    expect([table.bytes(0), table.fileBytes(0)]).toEqual([0x3000, 0x2000]);
    expect(table.notes).toEqual([{ offset: 0x200, bytes: 0x100, align: 4 }]);
  });

  it('that make no sense are refused with one line', () => {
    const rows: readonly (readonly [Segment[], string])[] = [
      [
        [{ ...LOAD, address: 0x7fff_ffff_f000 }],
        'IMAGE_CORRUPT: the segment at 0x7ffffffff000: its end, 0x800000002000, is beyond user space (0x7ffffffff000)',
      ],
      [
        [{ ...LOAD, bytes: 2 ** 52 }],
        'IMAGE_CORRUPT: the segment at 0x400000: its end, 0x10000000400000, is beyond user space (0x7ffffffff000)',
      ],
      [
        [{ ...LOAD, address: 0x40_0800 }],
        'IMAGE_CORRUPT: the segment at 0x400800: 0x3000 bytes, 0x2000 of them in the file: all three must be multiples of 4096',
      ],
      [
        [{ ...LOAD, fileBytes: 0x4000 }],
        'IMAGE_CORRUPT: the segment at 0x400000: the file has 0x4000 bytes of it, and it has only 0x3000',
      ],
      [
        [{ ...LOAD, offset: SIZE }],
        `IMAGE_TRUNCATED: the segment at 0x400000 would end at byte ${SIZE + 0x2000}, and the file ends at ${SIZE}`,
      ],
      [
        [{ ...LOAD, type: 4, fileBytes: 0x100_0001 }],
        'IMAGE_CORRUPT: its notes have 16777217 bytes or more, and 16777216 are allowed',
      ],
      [
        [{ ...LOAD, type: 4, offset: SIZE }],
        `IMAGE_TRUNCATED: its notes would end at byte ${SIZE + 0x2000}, and the file ends at ${SIZE}`,
      ],
      [
        [LOAD, { ...LOAD, address: 0x40_2000, offset: 0x9000 }],
        'IMAGE_CORRUPT: the segments at 0x400000 and 0x402000 overlap in memory',
      ],
      [
        [LOAD, { ...LOAD, address: 0x40_3000, offset: 0x2800 }],
        'IMAGE_CORRUPT: the segments at 0x400000 and 0x403000 overlap in the file',
      ],
    ];
    for (const [segments, message] of rows) expect(refusal(() => tableOf(segments))).toBe(message);
  });
});

describe('notes', () => {
  const note = fc.record({
    owner: fc.constantFrom('CORE', 'LINUX', 'GDB', 'X'),
    type: fc.nat({ max: 0xffff_ffff }),
    payload: fc.uint8Array({ maxLength: 40 }),
  });

  it('of any owner and type come back as they were', () => {
    fc.assert(
      fc.property(fc.array(note), (notes) => {
        const bytes = joinBytes(
          notes.map((each) => encodeNote(each.owner, each.type, each.payload)),
        );
        const found = listNotes(bytes, 0);
        expect(found.map(({ owner, type, payload }) => ({ owner, type, payload }))).toEqual(notes);
        expect(found.map(({ at, end }) => bytes.subarray(at, end))).toEqual(
          notes.map((each) => encodeNote(each.owner, each.type, each.payload)),
        );
      }),
    );
  });

  it('are listed from any bytes, or refused', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(fc.constantFrom(0, 1, 4, 5, 0xff, 0xff), { maxLength: 90 })
        .map((each) => Uint8Array.from(each)),
    );
    fc.assert(
      fc.property(bytes, fc.constantFrom(4, 8), (found, align) => {
        const outcome = refusal(() => {
          for (const { at, end, payload } of listNotes(normalNotes(found, align, 0), 0)) {
            expect(end).toBeGreaterThan(at);
            expect(payload.length).toBeLessThanOrEqual(found.length);
          }
        });
        expect(outcome).toMatch(/^accepted|^IMAGE_CORRUPT: (a note has|\d+ bytes are left)/);
      }),
      { numRuns: 2000 },
    );
  });

  it('with an absurd length are refused with one line', () => {
    const bytes = encodeNote('CORE', CORE_NOTE_TYPE.PRSTATUS, emptyThread(1));
    viewOf(bytes).setUint32(4, 0xffff_fff0, true);
    expect(refusal(() => listNotes(bytes, 1000))).toBe(
      'IMAGE_CORRUPT: a note has a name of 5 and 4294967280 bytes, and 344 are left',
    );
  });
});

describe('NT_FILE', () => {
  const ranges: FileRange[] = [
    { start: 0x40_0000, end: 0x40_2000, offset: 0, path: Buffer.from('/bin/a') },
    { start: 0x40_2000, end: 0x40_3000, offset: 0x2000, path: Buffer.from([0x2f, 0xff]) },
    {
      start: 0x7f00_0000_0000,
      end: 0x7f00_0001_0000,
      offset: 0x1_0000_0000,
      path: Buffer.from(''),
    },
  ];

  it('comes back as it was', () => {
    expect(
      decodeFileNote(encodeFileNote(ranges), 0).map((each) => ({
        ...each,
        path: Buffer.from(each.path),
      })),
    ).toEqual(ranges);
  });

  it('may count offsets in bytes, as gdb does', () => {
    const bytes = encodeFileNote(ranges);
    viewOf(bytes).setUint32(8, 1, true);
    viewOf(bytes).setUint32(16 + 24 + 16, 0x2000, true);
    viewOf(bytes).setUint32(16 + 48 + 16, 0x10_0000, true);
    expect(decodeFileNote(bytes, 0).map(({ offset }) => offset)).toEqual([0, 0x2000, 0x10_0000]);
  });

  it('is decoded from any bytes, or refused', () => {
    const whole = encodeFileNote(ranges);
    fc.assert(
      fc.property(
        fc.nat({ max: whole.length }),
        fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), {
          maxLength: 4,
        }),
        (length, changes) => {
          const bytes = whole.slice(0, length);
          for (const [at, value] of changes) if (at < length) bytes[at] = value;
          const outcome = refusal(() => {
            let before = 0;
            for (const { start, end } of decodeFileNote(bytes, 0)) {
              expect(start).toBeGreaterThanOrEqual(before);
              expect((start % PAGE_SIZE) + (end % PAGE_SIZE)).toBe(0);
              before = end;
            }
          });
          expect(outcome).toMatch(/^accepted|^IMAGE_CORRUPT: NT_FILE: /);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('a thread and the auxiliary vector', () => {
  it('are read where Linux puts them', () => {
    const thread = emptyThread(77);
    viewOf(thread).setUint16(12, 11, true);
    viewOf(thread).setUint32(240, 0x40_1000, true);
    viewOf(thread).setUint32(264, 0x1000, true);
    expect(decodeThread(thread)).toEqual({
      id: 77,
      signal: 11,
      instruction: 0x40_1000,
      stack: 0x1000,
    });
    expect(decodeThread(thread.subarray(1))).toBeUndefined();
    const auxv = new Uint8Array(
      new BigUint64Array([3n, 0x400040n, 33n, 0x7fff_0000n, 0n, 0n, 31n, 9n]).buffer,
    );
    expect([3, 33, 31, 6].map((type) => auxvValue(auxv, type))).toEqual([
      0x400040, 0x7fff_0000, 0, 0,
    ]);
  });
});
