/**
 * Layout tables: fields do not overlap, lie inside the record and are aligned, and records of the
 * image match docs/IMAGE_FORMAT.md. The tables are found in the source, so that none is left out.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import * as records from '../../../src/shared/formats/cpt/records.ts';
import { findLayouts, type Layout } from '../../support/source/layout-tables.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function sources(): ReadonlyMap<string, string> {
  const paths = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => `src/${path.replaceAll(sep, '/')}`);
  return new Map(paths.sort().map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

const { layouts, problems } = findLayouts(sources());

describe('the layout tables of src', () => {
  it('are sound, and every table of numbers says what it is', () => {
    expect(problems).toEqual([]);
  });

  it('are found: those of every room, exported or not, of words and of bytes', () => {
    const names = layouts.map(({ name }) => name);
    // Samples only: the tables that shared memory and images cannot do without.
    const samples = ['VMA_RECORD', 'MM_ADDRESS', 'LOAD_RUN', 'THREAD_SLOT', 'PAGES_RECORD_1'];
    expect(names).toEqual(expect.arrayContaining([...samples, 'PRPSINFO', 'CONTROL']));
    expect(new Set(names).size).toBe(names.length);
    const known = new Map(layouts.map((layout) => [layout.name, layout]));
    expect(field(known, 'FILE_RECORD', 'SIZE')).toEqual({ at: 4, width: 2, alignment: 1 });
    expect(field(known, 'ALLOCATOR', 'HEADS')).toEqual({ at: 3, width: 10, alignment: 1 });
    expect(field(known, 'WORKER_PROGRESS', 'BYTES')).toEqual({ at: 2, width: 2, alignment: 2 });
    expect(field(known, 'FILE_HEAD', 'PARENT')).toEqual({ at: 48, width: 16, alignment: 1 });
    expect(field(known, 'FILE_HEAD', 'TIME')).toEqual({ at: 16, width: 8, alignment: 8 });
  });
});

function field(known: ReadonlyMap<string, Layout>, table: string, named: string): unknown {
  const { name: _name, ...rest } = known.get(table)!.fields.find(({ name }) => name === named)!;
  return rest;
}

/** Returns what is found wrong with one file. */
function wrongWith(source: string): readonly string[] {
  return findLayouts(new Map([['a.ts', source]])).problems;
}

/** A table that the search must refuse, and a part of what it says. */
const BROKEN: readonly (readonly [what: string, source: string, problem: string])[] = [
  [
    'two fields at the same word',
    '/** Words of a. */\nexport const A = { X: 0, Y: 0, WORDS: 2 } as const;',
    'a.ts: A: Y, at 0, overlaps X, which ends at 1',
  ],
  [
    'a field behind a u64 that is one word too near',
    '/** Words of a. */\nconst A = {\n  X: 0, // u64\n  Y: 1,\n  WORDS: 4,\n} as const;',
    'a.ts: A: Y, at 1, overlaps X, which ends at 2',
  ],
  [
    'a u64 whose second word is beyond the stride',
    '/** The words of a. */\nconst A = {\n  X: 1, // bytes, u64\n  WORDS: 2,\n};',
    'a.ts: A: X ends at 3, beyond 2',
  ],
  [
    'a field of several words over the next one',
    '/** Words of a. */\nconst A = {\n  X: 0, // 3 words\n  Y: 2,\n  WORDS: 4,\n} as const;',
    'a.ts: A: Y, at 2, overlaps X, which ends at 3',
  ],
  [
    'a Float64 at an odd word',
    '/** Words of a. */\nconst A = {\n  X: 1, // Float64\n  WORDS: 4,\n} as const;',
    'a.ts: A: X, at 1, is not aligned to 2 words',
  ],
  [
    'a Float64 that the stride moves to an odd word',
    '/** Words of a. */\nconst A = {\n  X: 0, // Float64\n  WORDS: 3,\n} as const;',
    'a.ts: A: X is not aligned to 2 words in every record',
  ],
  [
    'a u64 of a record of bytes that is not aligned',
    '/** Fields of a. */\nconst A = {\n  X: 0, // u32\n  Y: 4,\n  SIZE: 16,\n} as const;',
    'a.ts: A: Y, at 4, is not aligned to 8 bytes',
  ],
  [
    'a record of bytes without a length',
    '/** Fields of a. */\nconst A = { X: 0 } as const;',
    'a.ts: A: SIZE, its length in bytes, is missing',
  ],
  [
    'a region that shares a cache line with the words before it',
    '/** Words of a. */\nconst A = { X: 0, RECORDS: 8 } as const;',
    'a.ts: A: RECORDS, at 8, begins a region, but no cache line of 16 words',
  ],
  [
    'a word in a place that another table of the record has',
    '/** Words of a. */\nconst A = { X: 0, WORDS: 2 };\n/** More words of A: b. */\nconst B = { Y: 0 };',
    'a.ts: B: Y, at 0, overlaps X, which ends at 1',
  ],
  [
    'more words of a table that is not there',
    '/** More words of A: b. */\nconst B = { Y: 0 } as const;',
    'a.ts: B: the file has no table of words A above it',
  ],
  [
    'a table that does not say what it is',
    '/** Of a. */\nexport const A = { X: 0, Y: 1 } as const;',
    'a.ts: A: its doc comment does not say',
  ],
  [
    'a table without a doc comment',
    'export const A = { X: 0, WORDS: 1 } as const;',
    'a.ts: A: its doc comment does not say',
  ],
  [
    'a table with a stride that calls itself values',
    '/** Values of a. */\nexport const A = { X: 0, WORDS: 1 } as const;',
    'a.ts: A: its doc comment does not say',
  ],
  [
    'an offset that is computed',
    '/** Words of a. */\nexport const A = { X: 0, Y: 0 + 1, WORDS: 2 } as const;',
    'a.ts: A: Y is not a number that is written out',
  ],
];

describe('the search for layout tables', () => {
  it.each(BROKEN)('refuses %s', (_what, source, problem) => {
    const found = wrongWith(source);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(problem);
  });

  it.each([
    ['values', '/** Bits of a. */\nexport const A = { X: 1, Y: 2 } as const;'],
    ['a frozen table', '/** Words of a. */\nconst A = Object.freeze({ X: 0, Y: 1, WORDS: 2 });'],
    ['an object that is no table', 'const A = { start: 0, END: 1 };'],
    [
      'a variant of a record',
      '/** Fields of a. */\nconst A = { X: 0, SIZE: 8 };\n/** Other fields of A. */\nconst B = { Y: 0 };',
    ],
  ])('accepts %s', (_what, source) => {
    expect(wrongWith(source)).toEqual([]);
  });
});

/** Headings of the document, and the tables of the code under them. */
const DOCUMENTED = {
  'File head': records.FILE_HEAD,
  'Object header': records.OBJECT,
  MM: records.MM_RECORD,
  VMA: records.VMA_IMAGE,
  NAME: records.NAME_RECORD,
  'MM_AUXV, CORE_NOTES': records.DATA_RECORD,
  STATE: records.STATE_RECORD,
  PAGES: records.PAGES_RECORD,
  COPYPAGES: records.COPYPAGES_RECORD,
  BITS: records.BITS_RECORD,
} as const;

const document = readFileSync(join(root, 'docs/IMAGE_FORMAT.md'), 'utf8');

function documentedFields(heading: string): [string, number, number][] {
  const section = document.split(`\n### ${heading}\n`)[1]!.split('\n##')[0]!;
  const rows = [...section.matchAll(/^\| (\d+) \| (\d+) \| (\w+) \|/gm)];
  return rows.map(([, offset, width, name]) => [name!, Number(offset), Number(width)]);
}

describe('records of the native image', () => {
  const exported = new Map<unknown, string>(
    Object.entries(records).map(([name, value]) => [value, name]),
  );

  it('are all compared with docs/IMAGE_FORMAT.md', () => {
    const compared = Object.values(DOCUMENTED).map((table) => exported.get(table));
    const found = layouts.filter(({ path }) => path === 'src/shared/formats/cpt/records.ts');
    // The document describes the fields of version 1 in words.
    const names = found.map(({ name }) => name).filter((name) => name !== 'PAGES_RECORD_1');
    expect(names.sort()).toEqual(compared.sort());
  });

  it.each(Object.entries(DOCUMENTED))('%s is as docs/IMAGE_FORMAT.md says', (heading, table) => {
    const { SIZE, ...fields } = table as Record<string, number>;
    const documented = documentedFields(heading);
    expect(Object.fromEntries(documented.map(([name, offset]) => [name, offset]))).toEqual(fields);
    const layout = layouts.find(({ name }) => name === exported.get(table))!;
    const widths = layout.fields.map(({ name, at, width }) => [name, at, width]);
    expect(widths).toEqual(documented);
    const isHeader = heading === 'File head' || heading === 'Object header';
    for (const [name, offset] of documented) {
      expect(offset, name).toBeGreaterThanOrEqual(isHeader ? 0 : records.OBJECT.SIZE);
    }
    expect(SIZE! % 8).toBe(0);
  });
});
