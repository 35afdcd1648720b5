/**
 * The notes of a core file that is written. What the mm has of an imported core or of a live process
 * is kept. The auxiliary vector and the files are those that the mm has now.
 */
import { FILE_BACKING } from '../../../mmu/files/file-record.ts';
import type { Mm } from '../../../mmu/mm/mm.ts';
import { withoutDeletedSuffix } from '../../../shared/formats/deleted-suffix.ts';
import {
  decodeFileNote,
  encodeFileNote,
  type FileRange,
} from '../../../shared/formats/elf/file-note.ts';
import {
  CORE_NOTE_TYPE,
  encodeNote,
  findNote,
  isCore,
  joinBytes,
  listNotes,
  type Note,
} from '../../../shared/formats/elf/notes.ts';
import { emptyProcess, emptyThread } from '../../../shared/formats/elf/process-notes.ts';
import { ImageProblem, problemError } from '../../../shared/formats/problem.ts';
import { addressOf } from '../../../shared/page.ts';
import { namePath } from '../encode-name.ts';
import type { DescribedMm } from '../pass-tables.ts';

const OWNER = 'CORE';
const { PRSTATUS, PRPSINFO, AUXV, FILE } = CORE_NOTE_TYPE;

/** All notes of the core. Throws IMAGE_CORRUPT if the mm's own notes cannot be read. */
export function coreNotes({ mm, auxv, notes }: DescribedMm): Uint8Array {
  try {
    return notesOf(mm, auxv, notes);
  } catch (error) {
    if (!(error instanceof ImageProblem)) throw error;
    throw problemError('the notes of the address space', error.problem);
  }
}

function notesOf(mm: Mm, auxv: Uint8Array, bytes: Uint8Array): Uint8Array {
  const notes = listNotes(bytes, 0);
  const files = encodeNote(OWNER, FILE, encodeFileNote(fileRanges(mm, notes)));
  const vector = encodeNote(OWNER, AUXV, auxv);
  const has = (type: number): boolean => findNote(notes, type) !== undefined;
  // Readers take the first thread from the first note, and the process from the next one.
  const first = has(PRSTATUS) ? [] : [encodeNote(OWNER, PRSTATUS, emptyThread(1))];
  if (!has(PRPSINFO) && first.length > 0) first.push(encodeNote(OWNER, PRPSINFO, emptyProcess('')));
  const kept = notes.map((note) => {
    if (isCore(note) && note.type === AUXV) return vector;
    if (isCore(note) && note.type === FILE) return files;
    return bytes.subarray(note.at, note.end);
  });
  const last = [...(has(AUXV) ? [] : [vector]), ...(has(FILE) ? [] : [files])];
  return joinBytes([...first, ...kept, ...last]);
}

/**
 * The mappings that show files. Those of a file in memory are left out if the mm has all of it. An
 * absent page of such a file is zeros, as in anonymous memory, and no reader could open the file.
 */
function fileRanges(mm: Mm, notes: readonly Note[]): FileRange[] {
  const { vmas, files } = mm;
  const before = findNote(notes, FILE);
  const known = before === undefined ? [] : decodeFileNote(before.payload, 0);
  const ranges: FileRange[] = [];
  let next = 0;
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const file = vmas.file(slot);
    if (file === 0 || files.backing(file) === FILE_BACKING.NONE) continue;
    const start = addressOf(vmas.start(slot));
    while (next < known.length && known[next]!.end <= start) next++;
    ranges.push({
      start,
      end: addressOf(vmas.end(slot)),
      offset: addressOf(vmas.pgoff(slot)),
      path: pathOf(namePath(mm, file), files.path(file), known[next], start),
    });
  }
  return ranges;
}

/**
 * The path as the core had it that the mm came from, else as d_path gives it. A file that was not at
 * hand when the core was imported counts as deleted, but its name is not that of a deleted file.
 */
function pathOf(
  path: Uint8Array,
  bare: Uint8Array,
  known: FileRange | undefined,
  start: number,
): Uint8Array {
  if (known === undefined || start < known.start) return path;
  const isSame = Buffer.compare(withoutDeletedSuffix(known.path), bare) === 0;
  return isSame ? known.path : path;
}
