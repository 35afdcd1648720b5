/** The VMAs of an mm on the way back to a snapshot (`rewind.ts`). The same locks are held. */
import { putFile } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { addVma } from '../vma/vma-edit.ts';

/** Puts the VMAs back. If they were changed, they count as new mappings. */
export function rewindVmas(mm: Mm, clone: Mm): void {
  const { vmas } = mm;
  if (!haveSameVmas(mm, clone)) {
    const files: number[] = [];
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      files.push(vmas.file(vmas.slot(ordinal)));
    }
    vmas.clear();
    for (let ordinal = 0; ordinal < clone.vmas.count; ordinal++) {
      addVma(mm, { ...clone.vmas.fields(clone.vmas.slot(ordinal)), isClean: false });
    }
    for (const file of files) if (file !== 0) putFile(mm, file);
    return;
  }
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const kept = clone.vmas.slot(ordinal);
    const anonVma = clone.vmas.anonVma(kept);
    if (vmas.anonVma(slot) !== anonVma) vmas.setAnonVma(slot, anonVma, clone.vmas.isForked(kept));
  }
}

/** Whether the VMAs differ in nothing but their anon_vmas and what they note. */
function haveSameVmas({ vmas: a }: Mm, { vmas: b }: Mm): boolean {
  if (a.count !== b.count) return false;
  for (let ordinal = 0; ordinal < a.count; ordinal++) {
    const left = a.slot(ordinal);
    const right = b.slot(ordinal);
    const isSame =
      a.start(left) === b.start(right) &&
      a.end(left) === b.end(right) &&
      a.flags(left) === b.flags(right) &&
      a.file(left) === b.file(right) &&
      a.pgoff(left) === b.pgoff(right) &&
      a.kind(left) === b.kind(right);
    if (!isSame) return false;
  }
  return true;
}
