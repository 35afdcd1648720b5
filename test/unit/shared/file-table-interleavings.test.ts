/**
 * Invariants checked, in every interleaving of small programs over the real code of the file table:
 * - a thread that has a reference keeps the file: neither its record nor its path is freed or
 *   reused
 * - a path is released exactly once
 * - at the end the free list, the index of paths and the store agree about which files exist
 * - a thread that dies at any step frees nothing that another thread uses
 * The same checks find a set of deliberate mistakes.
 */
import { describe, expect, it } from 'vitest';
import { FileTable } from '../../../src/mmu/files/file-table.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import { type FilesOptions, filesSystem } from '../../support/interleavings/file-table-scenario.ts';
import { type Edit, importMutant } from '../../support/interleavings/mutants.ts';

async function explore(text: string, options: Partial<FilesOptions> = {}): Promise<Exploration> {
  const programs = text.split('|');
  return await new Explorer(
    await filesSystem({ programs, tableClass: FileTable, ...options }),
  ).explore();
}

describe('every interleaving of the file table', () => {
  it.each([
    ['C|O', 0],
    ['C|C', 0],
    ['H|O', 0],
    ['H|U', 0],
    ['O|U', 1],
    ['U|U', 1],
    ['U|C', 1],
    ['U C|O', 1],
    ['U|O', 2],
  ])('of %s, with %i files', async (text, files) => {
    const { violation, states } = await explore(text, { with: files });
    expect(violation).toBeUndefined();
    expect(states).toBeGreaterThan(50);
  });

  it.each([
    ['U|O', 0],
    ['C|O', 0],
    ['O|U', 0],
  ])('of %s when thread %i dies at any step', async (text, victim) => {
    const { violation, outcomes } = await explore(text, { with: 1, victim });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain(`${victim}: dead`);
    expect(outcomes).toContain('1: done');
    expect(outcomes).toContain('1: MACHINE_POISONED');
  });
});

const MISTAKES: readonly (readonly [string, string, number, RegExp, readonly Edit[]])[] = [
  [
    'a file that is freed stays in the index of paths',
    'H|O',
    0,
    /./,
    [
      [
        '    if ((this.words[at + KIND]! & FILE_KIND.DELETED) === 0) this.#names.remove(id, path);\n',
        '',
      ],
    ],
  ],
  [
    'a name is dropped by everybody who unlinks',
    'U|U',
    1,
    /./,
    [['    if ((before & FILE_KIND.DELETED) !== 0) return false;\n', '']],
  ],
  [
    'who finds a file takes the reference once the lock is free',
    'U|O',
    1,
    /^freed/,
    [
      [
        '(id) => this.#isAt(id, path) && this.tryGet(id));\n    this.#unlockTable(thread);\n',
        '(id) => this.#isAt(id, path));\n    this.#unlockTable(thread);\n    if (id !== 0) Atomics.add(this.words, this.record(id), 1);\n',
      ],
    ],
  ],
  [
    'a record is taken off the free list without the lock',
    'U C|U C',
    2,
    /./,
    [
      [
        '    const { words, base } = this;\n    this.#lockTable(thread);\n',
        '    const { words, base } = this;\n',
      ],
      ['    this.#unlockTable(thread);\n    if (id === 0) throw', '    if (id === 0) throw'],
    ],
  ],
];

describe('a deliberate mistake is found', () => {
  it.each(MISTAKES)('%s', async (_, text, files, what, edits) => {
    const { FileTable: tableClass } = await importMutant<{ FileTable: typeof FileTable }>(
      'mmu/files/file-table.ts',
      edits,
    );
    const complaint = await explore(text, { with: files, tableClass }).then(
      ({ violation }) => violation?.what ?? '',
      (error: Error) => `assertion: ${error.message}`,
    );
    expect(complaint).toMatch(what);
  });
});
