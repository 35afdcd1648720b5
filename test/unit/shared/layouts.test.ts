/** Layout tables: fields do not overlap, lie inside the record, and match docs/IMAGE_FORMAT.md. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FILE_RECORD } from '../../../src/mmu/files/file-record.ts';
import { STORE, STORE_BLOCK } from '../../../src/mmu/files/store-blocks.ts';
import { MM_ADDRESS, MM_FIELD } from '../../../src/mmu/mm/mm-struct.ts';
import { ALLOCATOR } from '../../../src/mmu/physical/frame-allocator.ts';
import { PAGE_STRUCT } from '../../../src/mmu/physical/page-struct.ts';
import { VMA_RECORD } from '../../../src/mmu/vma/vma-table.ts';
import { UNIT_PLACE } from '../../../src/shared/dump/look-back.ts';
import { NAME_INDEX } from '../../../src/shared/dump/name-table.ts';
import { PART_CLAIM } from '../../../src/shared/dump/part-claims.ts';
import { PAYLOAD } from '../../../src/shared/dump/payload-table.ts';
import { RUN } from '../../../src/shared/dump/run-table.ts';
import { SCAN_RUN, SCAN_VMA } from '../../../src/shared/dump/scan-table.ts';
import { RING_SLOT } from '../../../src/shared/dump/segment-ring.ts';
import { VMA_TALLY } from '../../../src/shared/dump/vma-tally.ts';
import { WORK_UNIT } from '../../../src/shared/dump/work-unit.ts';
import * as records from '../../../src/shared/formats/cpt/records.ts';
import { THREAD_SLOT } from '../../../src/shared/sync/thread-layout.ts';

/** Fields of shared tables that occupy two words. */
const U64_WORDS = new Set([
  'START',
  'END',
  'PGOFF',
  'SIZE',
  'PATH_AT',
  'CONTENT_AT',
  'AUXV_AT',
  'NOTES_AT',
  'MMAP_BASE',
  'OFFSET',
  'PFN',
  'RECORD_AT',
]);

const SHARED_TABLES = {
  ALLOCATOR: { table: ALLOCATOR, wide: new Map([['HEADS', 10]]) },
  FILE_RECORD: { table: FILE_RECORD },
  STORE: { table: STORE, wide: new Map([['HEADS', 116]]) },
  STORE_BLOCK: { table: STORE_BLOCK, narrow: true },
  PAGE_STRUCT: { table: PAGE_STRUCT },
  VMA_RECORD: { table: VMA_RECORD },
  PART_CLAIM: { table: PART_CLAIM },
  PAYLOAD: { table: PAYLOAD },
  NAME_INDEX: { table: NAME_INDEX },
  RING_SLOT: { table: RING_SLOT },
  UNIT_PLACE: { table: UNIT_PLACE, wide: new Map([['SIZE', 1]]) },
  VMA_TALLY: { table: VMA_TALLY },
  RUN: { table: RUN, narrow: true },
  SCAN_RUN: { table: SCAN_RUN },
  SCAN_VMA: { table: SCAN_VMA },
  WORK_UNIT: { table: WORK_UNIT },
  THREAD_SLOT: { table: THREAD_SLOT },
  MM: { table: { ...MM_FIELD, ...MM_ADDRESS }, u64: new Set(Object.keys(MM_ADDRESS)) },
} as const;

describe('tables in shared memory', () => {
  it.each(Object.entries(SHARED_TABLES))('%s: fields do not overlap', (_name, entry) => {
    const { WORDS, ...fields } = entry.table as Record<string, number>;
    const taken = new Set<number>();
    for (const [name, at] of Object.entries(fields)) {
      const isU64 = 'u64' in entry && entry.u64.has(name);
      const isWide = isU64 || (!('narrow' in entry) && U64_WORDS.has(name));
      const words = ('wide' in entry ? entry.wide.get(name) : undefined) ?? (isWide ? 2 : 1);
      for (let word = at; word < at + words; word++) {
        expect(taken.has(word), `${name} at word ${word}`).toBe(false);
        expect(word).toBeLessThan(WORDS!);
        taken.add(word);
      }
    }
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
  PAGES: records.PAGES_RECORD,
  COPYPAGES: records.COPYPAGES_RECORD,
  BITS: records.BITS_RECORD,
} as const;

const document = readFileSync(new URL('../../../docs/IMAGE_FORMAT.md', import.meta.url), 'utf8');

function documentedFields(heading: string): [string, number, number][] {
  const section = document.split(`\n### ${heading}\n`)[1]!.split('\n##')[0]!;
  const rows = [...section.matchAll(/^\| (\d+) \| (\d+) \| (\w+) \|/gm)];
  return rows.map(([, offset, width, name]) => [name!, Number(offset), Number(width)]);
}

describe('records of the native image', () => {
  it.each(Object.entries(DOCUMENTED))('%s is as docs/IMAGE_FORMAT.md says', (heading, table) => {
    const { SIZE, ...fields } = table as Record<string, number>;
    const documented = documentedFields(heading);
    expect(Object.fromEntries(documented.map(([name, offset]) => [name, offset]))).toEqual(fields);
    let end = heading === 'File head' || heading === 'Object header' ? 0 : records.OBJECT.SIZE;
    for (const [name, offset, width] of documented) {
      expect(offset, name).toBeGreaterThanOrEqual(end);
      expect(offset % width, name).toBe(0);
      end = offset + width;
    }
    expect(end).toBeLessThanOrEqual(SIZE!);
    expect(SIZE! % 8).toBe(0);
  });
});
