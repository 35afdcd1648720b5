/**
 * Invariants checked: no line of a table or a map is longer than the width, unless one address or
 * number alone is · no address and no number is cut · nothing of a name controls the terminal · a map
 * says of every cell what a page-by-page count says · colours and widths follow the environment ·
 * a word is answered with the nearest choice
 */
import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Column, fitTable } from '../../../../src/main/cli/layout/fit-table.ts';
import {
  MAP_KINDS,
  type MapCell,
  mapCells,
  mapLegend,
  mapLine,
} from '../../../../src/main/cli/layout/page-map.ts';
import { type Screen, screenOf } from '../../../../src/main/cli/layout/screen.ts';
import { shortened, widthOf } from '../../../../src/main/cli/layout/text-width.ts';
import { suggestion } from '../../../../src/main/cli/suggest-choices.ts';
import { printable } from '../../../../src/shared/printable.ts';

const COLUMNS: readonly Column[] = [
  { name: 'addresses', kind: 'address' },
  { name: 'prot', kind: 'number' },
  { name: 'copy', kind: 'number' },
  { name: 'note', kind: 'text' },
  { name: 'file', kind: 'text' },
];
const address = fc
  .tuple(fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1))
  .map(([a, b]) => `${(a * 65536).toString(16)}-${(b * 65536).toString(16)}`);
const name = fc.string({ unit: 'grapheme', maxLength: 120 });
const row = fc.tuple(
  address,
  fc.constantFrom('r-xp', '---p'),
  fc.nat().map(String),
  name,
  fc.oneof(
    name,
    name.map((text) => `/usr/lib/${text}.so`),
  ),
);
const table = fc.array(row, { maxLength: 6 });
const mark = fc.constantFrom('…', '...');

describe('tables', () => {
  it('fit the width, and show every address and number whole', () => {
    fc.assert(
      fc.property(table, fc.integer({ min: 25, max: 200 }), mark, (rows, width, sign) => {
        const { head, rows: lines } = fitTable(COLUMNS, rows, { width, mark: sign });
        for (const line of [...(head === undefined ? [] : [head]), ...lines.flat()]) {
          expect(widthOf(line)).toBeLessThanOrEqual(width);
          expect(line).toBe(printable(line));
        }
        rows.forEach(([range, prot, copy], index) => {
          const words = lines[index]!.flatMap((line) => line.trim().split(/ +/));
          for (const value of [range, prot, copy]) expect(words).toContain(value);
        });
      }),
    );
  });

  it('show an address whole even where it is wider than the output', () => {
    fc.assert(
      fc.property(table, fc.integer({ min: 1, max: 24 }), (rows, width) => {
        const { rows: lines } = fitTable(COLUMNS, rows, { width, mark: '…' });
        rows.forEach(([range, , copy], index) => {
          const words = lines[index]!.flatMap((line) => line.trim().split(/ +/));
          expect(words).toContain(range);
          expect(words).toContain(copy);
          const most = Math.max(width, range.length, copy.length);
          for (const line of lines[index]!) expect(widthOf(line)).toBeLessThanOrEqual(most);
        });
      }),
    );
  });

  it('are as wide as they need to be, with all names, where nothing limits them', () => {
    const long = '/usr/lib/'.padEnd(500, 'x');
    const rows = [['400000-401000', 'r-xp', '7', '', long]];
    const { head, rows: lines } = fitTable(COLUMNS, rows, { width: Infinity, mark: '…' });
    expect(head).toBe('addresses      prot  copy  note  file');
    expect(lines).toEqual([[`400000-401000  r-xp     7        ${long}`]]);
  });

  it('shorten names in the middle, then put a row on several lines', () => {
    const rows = [
      ['7f0000000000-7f0000001000', 'r-xp', '12', '', '/usr/lib/x86_64/libnode.so.115'],
    ];
    const at = (width: number) => fitTable(COLUMNS, rows, { width, mark: '…' });
    expect(at(64).rows[0]).toEqual([
      '7f0000000000-7f0000001000  r-xp    12        /usr/lib/…de.so.115',
    ]);
    expect(at(40)).toEqual({
      head: undefined,
      rows: [
        [
          '7f0000000000-7f0000001000  prot r-xp',
          '  copy 12',
          '  file /usr/lib/x86_64/libnode.so.115',
        ],
      ],
    });
    expect(at(25).rows[0]!.at(-1)).toBe('  /usr/lib/x8…node.so.115');
  });
});

describe('widths of texts', () => {
  it.each([
    ['abc', 3],
    ['', 0],
    ['日本', 4],
    ['e\u0301', 1],
    ['🚀', 2],
    ['é', 1],
  ])('%s', (text, width) => {
    expect(widthOf(text)).toBe(width);
  });

  it('a shortened text is as short as asked, and keeps both ends', () => {
    fc.assert(
      fc.property(name, fc.integer({ min: 0, max: 60 }), mark, (text, width, sign) => {
        const short = shortened(printable(text), width, sign);
        expect(widthOf(short)).toBeLessThanOrEqual(width);
        if (widthOf(printable(text)) <= width) expect(short).toBe(printable(text));
      }),
    );
    expect(shortened('/usr/lib/libnode.so', 11, '…')).toBe('/usr/…de.so');
    expect(shortened('/usr/lib/libnode.so', 11, '...')).toBe('/usr...e.so');
  });

  it('control characters, and those that turn the direction, become question marks', () => {
    expect(printable('a\x1b[31mb\x07\u202ec\nd')).toBe('a?[31mb??c?d');
  });
});

const ASCII: Screen = { isTerminal: true, width: 40, hasColours: false, isUnicode: false };
const span = fc.record({
  kind: fc.constantFrom(...MAP_KINDS),
  pages: fc.integer({ min: 1, max: 50 }),
});

describe('maps of pages', () => {
  it('say of every cell what a count page by page says', () => {
    fc.assert(
      fc.property(
        fc.array(span),
        fc.nat(30),
        fc.integer({ min: 1, max: 80 }),
        (spans, more, most) => {
          const kinds = spans.flatMap(({ kind, pages }) => new Array(pages).fill(kind) as string[]);
          while (kinds.length === 0 || more-- > 0) kinds.push('absent');
          const cells = mapCells(spans, kinds.length, most);
          expect(cells.length).toBe(Math.min(kinds.length, most));
          cells.forEach((cell, index) => {
            const from = Math.floor((index * kinds.length) / cells.length);
            const until = Math.floor(((index + 1) * kinds.length) / cells.length);
            expect(cell).toEqual(slowCell(kinds.slice(from, until)));
          });
          expect(mapLine(cells, ASCII).length).toBe(cells.length);
        },
      ),
    );
  });

  it('are drawn in blocks, or in ASCII', () => {
    const spans = MAP_KINDS.map((kind) => ({ kind, pages: 2 }));
    const cells = mapCells(spans, 12, 12);
    expect(mapLine(cells, ASCII)).toBe('##ccpp00xx..');
    const shown = mapLine(cells, { ...ASCII, isUnicode: true, hasColours: true });
    expect(stripVTControlCharacters(shown)).toBe('██▓▓▒▒░░xx··');
    expect(shown).toContain('\x1b[32m██\x1b[39m');
    const few = mapCells([{ kind: 'copy', pages: 1 }], 100, 2);
    expect([few, mapLine(few, ASCII)]).toEqual([
      [
        { kind: 'copy', isSparse: true },
        { kind: 'absent', isSparse: false },
      ],
      ':.',
    ]);
  });

  it('a mapping of terabytes is as quick as its runs are few', () => {
    const cells = mapCells([{ kind: 'zero', pages: 2 ** 34 }], 2 ** 35, 4);
    expect(mapLine(cells, ASCII)).toBe('00..');
  });

  it('have a legend that fits', () => {
    for (let width = 18; width < 100; width++) {
      const lines = mapLegend({ ...ASCII, width });
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
      expect(lines.join('  ')).toBe(mapLegend({ ...ASCII, width: 1000 })[0]);
    }
  });
});

/** The kind of most pages that are there, the first in the order of MAP_KINDS among equals. */
function slowCell(kinds: readonly string[]): MapCell {
  const there = kinds.filter((kind) => kind !== 'absent');
  const count = (kind: string): number => there.filter((each) => each === kind).length;
  const best = MAP_KINDS.slice(0, -1).reduce((a, b) => (count(b) > count(a) ? b : a));
  if (there.length === 0) return { kind: 'absent', isSparse: false };
  return { kind: best, isSparse: there.length * 2 < kinds.length };
}

describe('what a screen can show', () => {
  const UTF8 = { LANG: 'de_DE.UTF-8', TERM: 'xterm' };
  const terminal = { isTTY: true, columns: 120 };

  it('a pipe has lines of any length, no colours, and ASCII', () => {
    const plain = { isTerminal: false, width: Infinity, hasColours: false, isUnicode: false };
    expect(screenOf({}, { ...UTF8, COLUMNS: '40' })).toEqual(plain);
    expect(screenOf({ isTTY: false, columns: 99 }, UTF8)).toEqual(plain);
  });

  it.each([
    [120, '70', 120],
    [0, '70', 70],
    [undefined, '70', 70],
    [0, undefined, 80],
    [0, 'wide', 80],
    [0, '0', 80],
  ])('%s columns, COLUMNS %s: %i', (columns, COLUMNS, width) => {
    const stream = columns === undefined ? { isTTY: true } : { isTTY: true, columns };
    expect(screenOf(stream, { COLUMNS }).width).toBe(width);
  });

  it.each([
    [{}, true],
    [{ NO_COLOR: '1' }, false],
    [{ NO_COLOR: '' }, true],
    [{ NODE_DISABLE_COLORS: '1' }, false],
    [{ TERM: 'dumb' }, false],
    [{ FORCE_COLOR: '0' }, false],
    [{ FORCE_COLOR: 'false' }, false],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, true],
    [{ FORCE_COLOR: '', TERM: 'dumb' }, true],
  ])('colours in a terminal with %o: %s', (env, has) => {
    expect(screenOf(terminal, { ...UTF8, ...env }).hasColours).toBe(has);
  });

  it('a pipe has colours if they are asked for', () => {
    expect(screenOf({}, { FORCE_COLOR: '1' }).hasColours).toBe(true);
    expect(screenOf({}, { FORCE_COLOR: '0' }).hasColours).toBe(false);
  });

  it.each([
    [UTF8, true],
    [{}, false],
    [{ LANG: 'C' }, false],
    [{ LANG: 'C', LC_CTYPE: 'C.utf8' }, true],
    [{ LANG: 'C.UTF-8', LC_ALL: 'POSIX' }, false],
    [{ ...UTF8, LC_ALL: '' }, true],
    [{ ...UTF8, TERM: 'dumb' }, false],
  ])('characters beyond ASCII with %o: %s', (env, has) => {
    expect(screenOf(terminal, env).isUnicode).toBe(has);
  });
});

describe('what was meant', () => {
  const FORMATS = ['cpt', 'elf', 'openvz'];
  it.each([
    ['efl', FORMATS, ' Did you mean elf?'],
    ['OpenVZ', FORMATS, ' Did you mean openvz?'],
    ['open', FORMATS, ' Did you mean openvz?'],
    ['crc', ['xxh3', 'crc32', 'none'], ' Did you mean crc32?'],
    ['spares', ['dense', 'sparse', 'manymaps', 'mixed'], ' Did you mean sparse?'],
    ['huge', ['dense', 'sparse', 'manymaps', 'mixed'], ''],
    ['', FORMATS, ''],
    ['zip', FORMATS, ''],
  ])("'%s' among %o:%s", (word, choices, meant) => {
    expect(suggestion(word, choices)).toBe(meant);
  });
});
