/** Takes the objects of an OpenVZ 6 container file, and checks each of them by itself. */

import { NO_DIGEST } from '../../../shared/digest/digest-kind.ts';
import type { Fields } from '../../../shared/formats/cpt/fields.ts';
import { LDT_MAX_BYTES } from '../../../shared/formats/cpt/records.ts';
import {
  decodeFile,
  decodeInode,
  decodeRange,
  type Item,
  objectName,
} from '../../../shared/formats/openvz/decode.ts';
import { decodeMm, decodeVma } from '../../../shared/formats/openvz/decode-mm.ts';
import { decodeRegisters, decodeTask } from '../../../shared/formats/openvz/decode-task.ts';
import {
  OPENVZ_BITS,
  OPENVZ_COPYPAGES,
  OPENVZ_PAGES,
} from '../../../shared/formats/openvz/fields.ts';
import { AUXV_WORDS, CONTENT, FPU_BYTES, OBJECT } from '../../../shared/formats/openvz/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { isPageAligned, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { BLOCK, BlockIndex } from '../index/block-index.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import { isRange, rangeText } from '../stream/blocks.ts';
import {
  type Container,
  type FoundFile,
  type FoundInode,
  type FoundMm,
  type FoundTask,
  type FoundVma,
  Unread,
} from './container.ts';

/** Registers of a task of 32 bits. */
const X86_REGS = 4096;
/** Objects in place of pages, whose bytes lie elsewhere. */
const ELSEWHERE: ReadonlyMap<number, string> = new Map([
  [4100, 'REMAPPAGES'],
  [4101, 'LAZYPAGES'],
  [4105, 'ITERPAGES'],
  [4106, 'ITERYOUNGPAGES'],
]);
/** Most pages of a clone: the counts of blocks are signed words. */
const PAGES_MAX = 0x7fff_ffff;

export class Collector {
  readonly unread: Unread = new Unread();
  readonly #budget: IndexBudget;
  readonly #mms: FoundMm[] = [];
  readonly #files = new Map<number, FoundFile>();
  readonly #inodes = new Map<number, FoundInode>();
  readonly #tasks: FoundTask[] = [];
  /** The objects that are open, or were so last. */
  #file: FoundFile | undefined;
  #inode: FoundInode | undefined;
  #vma: FoundVma | undefined;
  /** Where the last block of the open mapping or file ends, in bytes. */
  #filledTo = 0;

  constructor(budget: IndexBudget) {
    this.#budget = budget;
  }

  /** Takes an object in which others lie. `header` is its record. */
  begin({ offset, type }: Item, fields: Fields, header: Uint8Array): void {
    const budget = this.#budget;
    if (type === OBJECT.MM) {
      budget.take(INDEX_COST.MM);
      const blocks = new BlockIndex(budget);
      this.#mms.push({ offset, fields: decodeMm(fields), vmas: [], blocks, auxv: null, ldt: null });
    } else if (type === OBJECT.VMA) this.#beginVma(offset, fields);
    else if (type === OBJECT.FILE) {
      budget.take(INDEX_COST.FILE);
      this.#file = { offset, ...decodeFile(fields), path: null };
      this.#files.set(offset, this.#file);
    } else if (type === OBJECT.INODE) {
      budget.take(INDEX_COST.MM);
      this.#inode = { offset, ...decodeInode(fields), blocks: new BlockIndex(budget) };
      this.#inodes.set(offset, this.#inode);
      this.#filledTo = 0;
    } else {
      budget.take(INDEX_COST.MM); // with its registers, as fields and as notes
      const task = decodeTask(fields, header);
      if (!task.is64) throw is32(offset, task.pid);
      this.#tasks.push({ ...task, registers: null, fpu: null });
    }
  }

  /** Takes an object that lies in an object of type `parent`. `payload` is valid only meanwhile. */
  add(item: Item, parent: number, fields: Fields, payload: Uint8Array): void {
    const { type, content } = item;
    const elsewhere = ELSEWHERE.get(type);
    if (elsewhere !== undefined) throw notHere(item, elsewhere);
    if (parent === OBJECT.VMA && type === OBJECT.PAGES) this.#addPages(item, fields);
    else if (parent === OBJECT.VMA && type === OBJECT.COPYPAGES) this.#addClone(fields);
    else if (parent === OBJECT.INODE && type === OBJECT.PAGES) this.#addFilePages(item, fields);
    else if (parent === OBJECT.FILE && type === OBJECT.NAME) this.#addName(item, payload);
    else if (parent === OBJECT.MM && type === OBJECT.MM_AUXV) this.#addAuxv(item, payload);
    else if (parent === OBJECT.MM && type === OBJECT.BITS && content === CONTENT.MM_CONTEXT) {
      this.#addLdt(item, fields, payload);
    } else if (parent === OBJECT.TASK && type === OBJECT.X86_64_REGS) {
      this.#tasks.at(-1)!.registers = decodeRegisters(fields);
    } else if (parent === OBJECT.TASK && type === OBJECT.BITS && content === CONTENT.STACK) {
      const fpu = bitsOf(item, fields, payload);
      if (fpu.length >= FPU_BYTES) this.#tasks.at(-1)!.fpu = fpu.slice(0, FPU_BYTES);
      else this.unread.add('state of an FPU without SSE', item.length);
    } else if (parent === OBJECT.TASK && type === X86_REGS) {
      throw is32(item.offset, this.#tasks.at(-1)!.pid);
    } else this.unread.add(`${objectName(type)} in ${objectName(parent)}`, item.length);
  }

  finish(): Omit<Container, 'time'> {
    const rest = { unread: this.unread, tasks: this.#tasks };
    return { mms: this.#mms, files: this.#files, inodes: this.#inodes, ...rest };
  }

  #beginVma(offset: number, fields: Fields): void {
    const mm = this.#mms.at(-1)!;
    const vma = decodeVma(fields);
    const { start, end } = vma;
    if (!isRange(start, end)) throw fields.problem(`${rangeText(start, end)} is no range of pages`);
    this.#budget.take(INDEX_COST.VMA);
    const { count } = mm.blocks;
    this.#vma = { ...vma, offset, firstBlock: count, lastBlock: count };
    this.#filledTo = start;
    mm.vmas.push(this.#vma);
  }

  #addPages(item: Item, fields: Fields): void {
    const { start, end } = this.#range(fields);
    assertData(item, fields, end - start);
    this.#addBlock(BLOCK.DATA, start, end, item.offset + OPENVZ_PAGES.SIZE);
  }

  #addClone(fields: Fields): void {
    const { start, end } = this.#range(fields);
    if ((end - start) / PAGE_SIZE > PAGES_MAX) throw fields.problem('more pages than any mm has');
    this.#addBlock(BLOCK.CLONE, start, end, fields.number(OPENVZ_COPYPAGES.SOURCE, 'source'));
  }

  #addBlock(kind: 1 | 3, start: number, end: number, source: number): void {
    const pages = (end - start) / PAGE_SIZE;
    const block = { start: vpnOf(start), pages, kind, source, packed: 0, isFilePages: false };
    this.#mms.at(-1)!.blocks.add({ ...block, ...NO_DIGEST });
    this.#vma!.lastBlock++;
    this.#filledTo = end;
  }

  /** A range of whole pages inside the mapping, behind the block before it. */
  #range(fields: Fields): { readonly start: number; readonly end: number } {
    const range = decodeRange(fields);
    const { start, end } = range;
    const vma = this.#vma!;
    const isInside = isRange(start, end) && start >= vma.start && end <= vma.end;
    const text = rangeText(start, end);
    if (!isInside) throw fields.problem(`${text} is not inside ${rangeText(vma.start, vma.end)}`);
    if (start < this.#filledTo) throw fields.problem(`${text} overlaps the block before it`);
    return range;
  }

  /** Pages of a file. Those of the last page may end with the file. */
  #addFilePages(item: Item, fields: Fields): void {
    const { start, end } = decodeRange(fields);
    if (!isPageAligned(start) || start >= end) {
      throw fields.problem(`${rangeText(start, end)} is no range of pages of a file`);
    }
    if (start < this.#filledTo) {
      throw fields.problem(`${rangeText(start, end)} overlaps the block before it`);
    }
    assertData(item, fields, end - start);
    this.#filledTo = end;
    const pages = Math.floor((end - start) / PAGE_SIZE);
    const rest = (end - start) % PAGE_SIZE;
    if (rest > 0) this.unread.add('half a page of a file', rest);
    if (pages === 0) return;
    const source = item.offset + OPENVZ_PAGES.SIZE;
    const place = { start: start / PAGE_SIZE, pages, source };
    const block = { ...place, kind: BLOCK.DATA, packed: 0, isFilePages: false };
    this.#inode!.blocks.add({ ...block, ...NO_DIGEST });
  }

  #addName(item: Item, payload: Uint8Array): void {
    const end = payload.indexOf(0);
    if (end <= 0) throw wrong(item, 'its path is empty or has no end');
    this.#budget.take(3 * end);
    this.#file!.path = payload.slice(0, end);
  }

  #addAuxv(item: Item, payload: Uint8Array): void {
    const words = payload.length / 8;
    if (words > AUXV_WORDS || words % 2 !== 0) {
      throw wrong(item, `${words} words, expected pairs, at most ${AUXV_WORDS}`);
    }
    const auxv = new Uint8Array(payload.length + 16); // with its end
    auxv.set(payload);
    this.#mms.at(-1)!.auxv = auxv;
  }

  #addLdt(item: Item, fields: Fields, payload: Uint8Array): void {
    const ldt = bitsOf(item, fields, payload);
    if (ldt.length === 0 || ldt.length > LDT_MAX_BYTES || ldt.length % 8 !== 0) {
      throw wrong(item, `an LDT of ${ldt.length} bytes, expected 8 to ${LDT_MAX_BYTES}`);
    }
    this.#budget.take(ldt.length);
    this.#mms.at(-1)!.ldt = ldt.slice();
  }
}

/** Checks that the bytes of pages follow: OpenVZ refuses pages without them. */
function assertData(item: Item, fields: Fields, bytes: number): void {
  if (item.content !== CONTENT.DATA || item.headerLength !== OPENVZ_PAGES.SIZE) {
    const found = `content ${item.content} and a header of ${item.headerLength} bytes`;
    throw fields.problem(`${found}, expected ${CONTENT.DATA} and ${OPENVZ_PAGES.SIZE}`);
  }
  const payload = item.length - item.headerLength;
  if (payload === Math.ceil(bytes / 8) * 8) return;
  throw fields.problem(`${payload} bytes follow, expected ${bytes}`);
}

function bitsOf(item: Item, fields: Fields, payload: Uint8Array): Uint8Array {
  const bytes = fields.u32(OPENVZ_BITS.BYTES);
  if (bytes <= payload.length) return payload.subarray(0, bytes);
  throw wrong(item, `${bytes} bytes of bits, but ${payload.length} follow`);
}

function notHere(item: Item, name: string): ImageProblem {
  const { offset } = item;
  const text = `${name} at byte ${offset}: pages of it lie outside of the file, or in another order`;
  return new ImageProblem('IMAGE_VERSION', offset, `${text}, which is not supported`);
}

function is32(offset: number, pid: number): ImageProblem {
  const text = `TASK at byte ${offset}: process ${pid} is one of 32 bits, expected x86-64`;
  return new ImageProblem('IMAGE_VERSION', offset, text);
}

function wrong({ offset, type }: Item, message: string): ImageProblem {
  const text = `${objectName(type)} at byte ${offset}: ${message}`;
  return new ImageProblem('IMAGE_CORRUPT', offset, text);
}
