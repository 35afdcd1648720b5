/** The rows of docs/CLASSIFICATION.md that a single leaf and page struct decide. */
import { describe, expect, it } from 'vitest';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import {
  classOfRule,
  FILE_VIEW,
  isZeroPage,
  ruleOfNotPresent,
  ruleOfPresent,
} from '../../../src/mmu/tables/classify.ts';
import { MARKER, MARKER_HIGH, markerLow, PTE } from '../../../src/mmu/tables/pte.ts';
import { PAGE_CLASS, RULE, rowOf, ruleName } from '../../../src/shared/dump/page-class.ts';

const PRESENT = PTE.PRESENT | PTE.USER;

interface Leaf {
  readonly low?: number;
  readonly flags?: number;
  readonly mapping?: number;
  readonly file?: number;
  readonly view?: number;
  readonly vdso?: boolean;
}

function rule(leaf: Leaf): number {
  const { low = PRESENT, flags = 0, mapping = 0 } = leaf;
  const { file = 0, view = FILE_VIEW.NONE, vdso = false } = leaf;
  return ruleOfPresent(low, flags, mapping, file, view, vdso);
}

const { ANON, RESERVED, ZERO } = PG;
const WRITABLE = PRESENT | PTE.WRITE;
const LIVING = { file: 5, view: FILE_VIEW.LIVING } as const;
const LOST = { file: 5, view: FILE_VIEW.UNREACHABLE } as const;

describe('a present leaf', () => {
  it.each<[string, Leaf, number, keyof typeof PAGE_CLASS]>([
    ['8: no normal page', { low: PRESENT | PTE.SPECIAL }, RULE.NO_NORMAL_PAGE, 'COPY'],
    ['9: mapping without file', { mapping: 5 }, RULE.MAPPING_WITHOUT_FILE, 'UNSUPPORTED'],
    ['10: another file', { ...LIVING, mapping: 6 }, RULE.OTHER_MAPPING, 'UNSUPPORTED'],
    ['10: another lost file', { ...LOST, mapping: 6 }, RULE.OTHER_MAPPING, 'UNSUPPORTED'],
    ['11: living file', { ...LIVING, mapping: 5 }, RULE.LIVING_FILE, 'ABSENT'],
    ['12: lost file', { ...LOST, mapping: 5 }, RULE.UNREACHABLE_FILE_OWNER, 'COPY'],
    [
      '13: writable zero page',
      { low: WRITABLE, flags: RESERVED | ZERO },
      RULE.WRITABLE_ZERO_PAGE,
      'UNSUPPORTED',
    ],
    ['14: zero page', { flags: RESERVED | ZERO }, RULE.ZERO_PAGE, 'ZERO'],
    ['14: in a file mapping', { ...LOST, flags: RESERVED | ZERO }, RULE.ZERO_PAGE, 'ZERO'],
    ['15: reserved', { flags: RESERVED }, RULE.RESERVED, 'UNSUPPORTED'],
    [
      '15: reserved and anonymous',
      { flags: RESERVED | ANON, mapping: 3 },
      RULE.RESERVED,
      'UNSUPPORTED',
    ],
    ['16: no mapping', {}, RULE.NO_MAPPING, 'UNSUPPORTED'],
    ['16: no mapping, anonymous flag', { flags: ANON }, RULE.NO_MAPPING, 'UNSUPPORTED'],
    ['16: vdso', { vdso: true }, RULE.VDSO, 'COPY'],
    ['19: anonymous', { flags: ANON, mapping: 3 }, RULE.COPY, 'COPY'],
    [
      '19: anonymous, private copy of a file page',
      { ...LIVING, flags: ANON, mapping: 3 },
      RULE.COPY,
      'COPY',
    ],
    ['19: under PROT_NONE', { low: PTE.PROTNONE, flags: ANON, mapping: 3 }, RULE.COPY, 'COPY'],
  ])('row %s', (name, leaf, expected, pageClass) => {
    expect(ruleName(rule(leaf))).toBe(ruleName(expected));
    expect(rowOf(expected)).toBe(Number.parseInt(name, 10));
    expect(classOfRule(expected)).toBe(PAGE_CLASS[pageClass]);
  });
});

describe('an entry that is not present', () => {
  it('is a guard page behind either marker, and never content', () => {
    const guard = ruleOfNotPresent(markerLow(MARKER.GUARD), MARKER_HIGH, -1);
    const poison = ruleOfNotPresent(markerLow(MARKER.POISONED), MARKER_HIGH, -1);
    expect([guard, poison]).toEqual([RULE.GUARD, RULE.POISONED]);
    expect([guard, poison].map(classOfRule)).toEqual([PAGE_CLASS.GUARD, PAGE_CLASS.GUARD]);
    expect([guard, poison].map(rowOf)).toEqual([7, 7]);
  });

  it('is a swap entry otherwise: content where its slot is in use', () => {
    expect(ruleOfNotPresent(0x1000, 0, 0)).toBe(RULE.COPY);
    expect(ruleOfNotPresent(0x1000, 0, -1)).toBe(RULE.BAD_SWAP);
    expect(classOfRule(RULE.BAD_SWAP)).toBe(PAGE_CLASS.UNSUPPORTED);
  });
});

describe('the zero test', () => {
  it('sees a single bit anywhere in the page, and nothing beside it', () => {
    const words = new Int32Array(3 * 1024);
    words[1023] = 1;
    words[2048] = 1;
    expect(isZeroPage(words, 1024)).toBe(true);
    for (let word = 1024; word < 2048; word++) {
      for (const bit of [0, 13, 31]) {
        words[word] = 1 << bit;
        if (isZeroPage(words, 1024)) throw new Error(`word ${word}, bit ${bit} was not seen`);
      }
      words[word] = 0;
    }
  });
});

it('every rule has a name', () => {
  for (const [name, value] of Object.entries(RULE)) {
    expect(ruleName(value), name).not.toMatch(/^rule /);
    expect(rowOf(value)).toBeGreaterThan(0);
    expect(rowOf(value)).toBeLessThan(20);
  }
});
