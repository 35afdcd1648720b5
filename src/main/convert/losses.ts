/** What other formats cannot hold of an address space, as lines for people. */
import { LDT_ENTRY_SIZE } from '../../mmu/calls/ldt.ts';
import { decodeProcess } from '../../shared/formats/elf/notes/decode-process.ts';
import { NOTE_TYPE, readableNotes } from '../../shared/formats/elf/notes/note.ts';
import { AUXV_WORDS } from '../../shared/formats/openvz/records.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { VM, vmFlagNames } from '../../shared/vm-flags.ts';
import type { Image } from '../image/image.ts';
import { isUnreachable } from '../image/index/file-pages.ts';
import type { ImageFile, ImageMm } from '../image/index/image-mm.ts';
import { lostStateText } from '../image/index/image-state.ts';

/** Flags that a core file has, or that an import of one makes up again. */
const KEPT =
  VM.READ | VM.WRITE | VM.EXEC | VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC | VM.ACCOUNT | VM.EXECUTABLE;

/** Notes of which a task has what matters. */
const TASK_NOTES: ReadonlySet<number> = new Set([
  NOTE_TYPE.PRSTATUS,
  NOTE_TYPE.FPREGSET,
  NOTE_TYPE.PRPSINFO,
  NOTE_TYPE.AUXV,
  NOTE_TYPE.FILE,
]);

/** Fields that no core tells: the others follow from the program, and from what is on the stack. */
const LOST_FIELDS = ['start_brk', 'brk', 'def_flags', 'flags'] as const;

/** What is lost if only one mm of an image is taken. Empty if it has no other. */
export function lossesOfOne(image: Image): string[] {
  const others = image.mms().length - 1;
  if (others === 0) return [];
  return [
    `${counted(others, 'other address space')}, and which pages are shared: they are left out`,
  ];
}

/** What the reader of an OpenVZ file leaves aside. */
export function lossesOfReading({ unread }: Image): string[] {
  return unread.map((line) => `not kept: ${line}`);
}

/** The state beside memory, which no other format can hold. Empty if there is none. */
export function lostState({ state }: Image): string[] {
  return state.map(({ name, bytes }) => lostStateText(name, bytes));
}

/** What a core file cannot hold of an mm of an image. */
export function lossesInCore(image: Image, mm: ImageMm): string[] {
  return [...(image.head.frozen ? [] : ['that the process ran meanwhile']), ...lossesOfMm(mm)];
}

function lossesOfMm({ fields, ldt, vmas }: ImageMm): string[] {
  const lines: string[] = [];
  const set = LOST_FIELDS.filter((name) => fields[name] !== 0);
  if (set.length > 0) lines.push(`the fields ${set.join(', ')} of the mm`);
  if (ldt !== null) lines.push(`an LDT of ${counted(ldt.bytes / LDT_ENTRY_SIZE, 'entry')}`);
  const guards = vmas.reduce((sum, { pages }) => sum + pages.guard, 0);
  if (guards > 0) lines.push(`guard pages, which become absent pages: ${guards}`);
  const flagged = vmas.filter(({ flags }) => lostFlags(flags).length > 0);
  if (flagged.length > 0) {
    const names = [...new Set(flagged.flatMap(({ flags }) => lostFlags(flags)))].sort();
    lines.push(`flags of ${counted(flagged.length, 'mapping')}: ${names.join(', ')}`);
  }
  const files = new Map<number, ImageFile>();
  for (const { file } of vmas) if (file !== null) files.set(file.id, file);
  const gone = [...files.values()].filter((file) => file.isDeleted || file.isMemoryBacked);
  if (gone.length > 0) {
    lines.push(`that ${counted(gone.length, 'file')} had been deleted or lay in memory`);
  }
  return lines;
}

/** What an OpenVZ file cannot hold of an mm of an image, and what its readers need. */
export async function lossesInOpenvz(image: Image, mm: ImageMm): Promise<string[]> {
  const choice = { mm: mm.ordinal };
  const notes = readableNotes(await image.notes(choice));
  const others = notes.filter(({ owner, type }) => owner !== 'CORE' || !TASK_NOTES.has(type));
  const pairs = Math.floor((await image.auxv(choice)).length / 16) - 1;
  const guards = mm.vmas.reduce((sum, { pages }) => sum + pages.guard, 0);
  const lines = image.head.frozen ? [] : ['not kept: that the process ran meanwhile'];
  if (guards > 0) lines.push(`not kept: guard pages, which become absent pages: ${guards}`);
  if (others.length > 0) {
    lines.push(`not kept: ${counted(others.length, 'note')} besides those of registers`);
  }
  if (pairs > AUXV_WORDS / 2) {
    const lost = counted(pairs - AUXV_WORDS / 2, 'pair');
    lines.push(`not kept: the last ${lost} of the auxiliary vector`);
  }
  lines.push(...lossesOfFiles(image, mm));
  const { threads } = decodeProcess(await image.notes(choice));
  if (threads.length > 0) {
    const of = counted(threads.length, 'thread');
    lines.push(`not kept: signals, times and segment registers of ${of}`);
  }
  if (!mm.vmas.some(({ file, flags }) => file !== null && (flags & VM.EXECUTABLE) !== 0)) {
    lines.push(`mm ${mm.ordinal} has no mapping of its program, which readers of OpenVZ need`);
  }
  return lines;
}

/** What an OpenVZ file does not tell of the files of an mm, and of pages that are unknown. */
function lossesOfFiles({ head }: Image, { vmas }: ImageMm): string[] {
  const lines: string[] = [];
  if (vmas.some(({ file }) => file?.isIncomplete === true)) {
    lines.push('not kept: that pages of some files in memory are unknown');
  }
  if (head.dontDump && vmas.some(({ flags }) => (flags & VM.DONTDUMP) !== 0)) {
    lines.push('not kept: that pages of VM_DONTDUMP mappings were left out');
  }
  const ends = new Map<ImageFile, number>();
  for (const { file, start, end, pgoff } of vmas) {
    if (file === null || isUnreachable(file)) continue; // the others have an INODE with a length
    ends.set(file, Math.max(ends.get(file) ?? 0, pgoff * PAGE_SIZE + (end - start)));
  }
  const others = [...ends].filter(([{ size }, last]) => size !== last).length;
  if (others > 0) lines.push(`not kept: the length of ${counted(others, 'file')}`);
  return lines;
}

/** Names of the flags of a mapping that get lost. Bit 31 makes a number negative: names do not. */
function lostFlags(flags: number): string[] {
  const kept = new Set(vmFlagNames(KEPT));
  return vmFlagNames(flags).filter((name) => !kept.has(name));
}

function counted(count: number, what: string): string {
  if (count === 1) return `1 ${what}`;
  return `${count} ${what.endsWith('y') ? `${what.slice(0, -1)}ies` : `${what}s`}`;
}
