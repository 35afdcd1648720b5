/**
 * Damages page tables and page structs by writing to the words of a machine, for the test against
 * the reference dumper. The machine is discarded afterwards.
 */
import { MmdumpError, PAGE_SIZE } from 'mmdump';
import { PAGE_STRUCT } from '../../../src/mmu/physical/page-struct.ts';
import type { History } from './reference-histories.ts';
import {
  addressOfSpot,
  isNone,
  isPresent,
  makeKernelPage,
  pgdOf,
  readEntry,
  translate,
  wordsOf,
} from './reference-memory.ts';

export const CORRUPTIONS = [
  'no mapping',
  'reserved frame',
  'zero page',
  'writable zero page',
  "another file's page",
  "another file's page",
  'another page',
  'a page table as a page',
  'anonymous',
  'guard',
  'guard',
  'poison',
  'swap entry',
  'beyond memory',
  'special',
  'special beyond memory',
  'PROT_NONE',
  'bad pmd',
  'bad pud',
  'bad pgd',
  'huge leaf',
] as const;

export interface Damage {
  readonly kind: (typeof CORRUPTIONS)[number];
  /** A mapping by its ordinal, and a page of it. */
  readonly vma: number;
  readonly page: number;
  /** Selects one of several forms of the damage. */
  readonly choice: number;
}

/** Present, user, accessed. */
const LEAF = 0x25n;
const WRITE = 0x2n;
const SPECIAL = 0x200n;
const MARKER = 31n << 59n;
const ZERO_PAGE = 1n << 12n;

/** The position of an entry. */
interface Place {
  readonly table: number;
  readonly index: number;
}

/**
 * Returns the entries from the pgd to a page: none of them is bad, and the last is a leaf or none.
 */
function pathTo({ machine, space }: History, vpn: number): Place[] {
  const path: Place[] = [];
  let table = pgdOf(machine, space);
  for (const level of [4, 3, 2, 1]) {
    const index = Math.floor(vpn / 512 ** (level - 1)) % 512;
    path.push({ table, index });
    const entry = readEntry(machine, table, index);
    if (isNone(entry) || (level === 2 && (entry & 0x80n) !== 0n)) break;
    table = Number((entry >> 12n) & 0xff_ffff_ffffn);
  }
  return path;
}

function writeEntry({ machine }: History, { table, index }: Place, entry: bigint): void {
  const { words, at } = wordsOf(machine, table);
  words[at + index * 2] = Number(BigInt.asIntN(32, entry));
  words[at + index * 2 + 1] = Number(BigInt.asIntN(32, entry >> 32n));
}

/** Makes the page present if the mapping permits it, and applies the damage. */
export function corrupt(history: History, damage: Damage): void {
  const { machine, space } = history;
  const address = addressOfSpot(space, damage.vma, damage.page);
  if (address === null) return;
  const vpn = address / PAGE_SIZE;
  makePresent(history, vpn);
  const found = translate(machine, pgdOf(machine, space), vpn);
  if (found.found === 'bad table') return; // one damage is enough
  const path = pathTo(history, vpn);
  if (damage.kind === 'no mapping') {
    if (found.found === 'entry' && found.pfn > 1 && found.pfn < machine.parts.memory.frames) {
      makeKernelPage(machine, space, vpn);
    }
  } else if (damage.kind === 'anonymous') {
    makeAnonymous(history, vpn);
  } else if (damage.kind.startsWith('bad') || damage.kind === 'huge leaf') {
    damageTables(history, path, damage);
  } else if (path.length === 4) {
    damageLeaf(history, path[3]!, damage);
  }
}

/** Reads the page if nothing is there and the mapping permits it. */
function makePresent({ machine, space }: History, vpn: number): void {
  const found = translate(machine, pgdOf(machine, space), vpn);
  if (found.found === 'bad table' || (found.found === 'entry' && !isNone(found.entry))) return;
  try {
    space.read(vpn * PAGE_SIZE, new Uint8Array(1));
  } catch (error) {
    if (!(error instanceof MmdumpError)) throw error;
  }
}

/** Makes the page struct of the file's page say that it is anonymous. */
function makeAnonymous({ machine, space }: History, vpn: number): void {
  const found = translate(machine, pgdOf(machine, space), vpn);
  if (found.found !== 'entry' || found.pfn < 2 || found.pfn >= machine.parts.memory.frames) return;
  machine.parts.pages.words[found.pfn * PAGE_STRUCT.WORDS + PAGE_STRUCT.FLAGS]! |= 2;
}

function damageLeaf(history: History, place: Place, damage: Damage): void {
  const entry = damagedLeaf(history, place, damage);
  if (entry === null) return;
  if (damage.kind === 'guard' || damage.kind === 'poison') history.space.mm.struct.noteMarker();
  writeEntry(history, place, entry);
}

/** Returns the new entry, or null where the damage is impossible. */
function damagedLeaf(history: History, place: Place, { kind, choice }: Damage): bigint | null {
  const { machine } = history;
  const { frames } = machine.parts.memory;
  const before = readEntry(machine, place.table, place.index);
  const beyond = BigInt([frames, 2 ** 31, 2 ** 32 + 9, 2 ** 40 - 1][choice % 4]!) << 12n;
  const device = BigInt(machine.parts.device.first + (choice % 4)) << 12n;
  switch (kind) {
    case 'reserved frame':
      return (choice % 3 === 0 ? 0n : device) | LEAF;
    case 'zero page':
      return ZERO_PAGE | LEAF;
    case 'writable zero page':
      return ZERO_PAGE | LEAF | WRITE;
    case "another file's page":
      return leafOfFile(history, choice);
    case 'another page':
      return leafElsewhere(history, choice);
    case 'a page table as a page':
      return (BigInt(place.table) << 12n) | LEAF;
    case 'guard':
      return MARKER | (4n << 12n);
    case 'poison':
      return MARKER | (2n << 12n);
    case 'swap entry':
      return (BigInt(choice % 31) << 59n) | (7n << 12n);
    case 'beyond memory':
      return beyond | LEAF;
    case 'special beyond memory':
      return beyond | LEAF | SPECIAL;
    case 'special':
      return isPresent(before) ? before | SPECIAL : null;
    case 'PROT_NONE':
      return isPresent(before) ? (before & ~0x3n) | 0x100n : null;
    default:
      return null; // this damage does not apply to a leaf
  }
}

/** Returns a leaf that shows a page of some file, after loading it into the page cache. */
function leafOfFile({ machine, space, files }: History, choice: number): bigint | null {
  const file = files[choice % files.length]!;
  const length = 4 * PAGE_SIZE;
  try {
    const start = space.mmap({ length, prot: 'r', flags: ['private'], file });
    const address = start + (choice % 4) * PAGE_SIZE;
    space.read(address, new Uint8Array(1));
    const found = translate(machine, pgdOf(machine, space), address / PAGE_SIZE);
    space.munmap(start, length);
    return found.found === 'entry' ? found.entry : null;
  } catch (error) {
    if (error instanceof MmdumpError) return null; // beyond the end of the file, or no memory
    throw error;
  }
}

/** Copies a leaf that is in use elsewhere. */
function leafElsewhere(history: History, choice: number): bigint | null {
  const { machine, space } = history;
  const address = addressOfSpot(space, choice, choice % 16);
  const found = translate(machine, pgdOf(machine, space), address! / PAGE_SIZE);
  return found.found === 'entry' && isPresent(found.entry) ? found.entry : null;
}

function damageTables(history: History, path: readonly Place[], { kind, choice }: Damage): void {
  const place = path[{ 'bad pgd': 0, 'bad pud': 1 }[kind as string] ?? 2];
  if (place === undefined) return;
  const before = readEntry(history.machine, place.table, place.index);
  const { frames } = history.machine.parts.memory;
  const forms =
    kind === 'huge leaf'
      ? [
          0xe7n, //                               frames 0 to 511, which include the zero page
          (BigInt(frames - 512) << 12n) | 0xe5n, // device memory at the end
          (BigInt(frames) << 12n) | 0xe7n, //     beyond memory
          (BigInt(frames - 256) << 12n) | 0xe7n, // not aligned
          0x1e0n, //                              PROT_NONE
        ]
      : [
          before | 0x100n, //                     a reserved bit
          before | (1n << 44n), //                beyond memory: bit 32 of the pfn
          before | (1n << 52n),
          before | (1n << 63n),
          before & ~1n, //                        neither present nor none
          (BigInt(frames) << 12n) | 0x67n, //     beyond memory
          0x67n, //                               no table there
          (1n << 12n) | 0x67n,
          MARKER | (4n << 12n), //                a marker where none is allowed
          before | 0x80n, //                      PSE
        ];
  writeEntry(history, place, forms[choice % forms.length]!);
}
