/**
 * fork: makes a new mm with the contents of its parent (dup_mm, kernel/fork.c). The parent's mmap
 * lock is held for writing. No other thread can see the child before it is published.
 */
import { TASK_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { claimMm, freeMm, type Mm, mmOf } from '../mm/mm.ts';
import { MM_ADDRESS, MM_FIELD, type MmStruct } from '../mm/mm-struct.ts';
import { addVma, unmapRange } from '../vma/vma-edit.ts';
import type { VmaFields } from '../vma/vma-table.ts';
import { copyRange } from './copy-tables.ts';
import { copyLdt, withLdt } from './ldt.ts';

const LOCKED = VM.LOCKED | VM.LOCKONFAULT;

/**
 * Makes an mm with the LDT, the fields and the mappings of `parent`, and publishes it. Throws
 * ENOMEM if memory runs out or all slots are taken.
 */
export function doFork(parent: Mm): Mm {
  const { machine } = parent;
  const slot = claimMm(machine, parent.thread);
  const child = mmOf(machine, slot, parent.thread);
  try {
    withLdt(parent, () => copyLdt(parent.struct, child.struct));
    duplicate(parent, child);
  } catch (error) {
    freeMm(child);
    throw error;
  }
  child.struct.publish();
  return child;
}

/**
 * Gives `child`, which is not published yet, the fields and mappings of `parent` (dup_mmap). If
 * memory runs out, the mappings of `child` are removed again and ENOMEM is thrown.
 */
function duplicate(parent: Mm, child: Mm): void {
  copyFields(parent.struct, child.struct);
  const { store } = child.machine;
  for (const field of STORED) store.get(child.struct.get64(field));
  try {
    copyMappings(parent, child);
  } catch (error) {
    unmapRange(child, 0, TASK_PAGES);
    throw error;
  }
}

function copyMappings(parent: Mm, child: Mm): void {
  const { vmas } = parent;
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const vma = vmas.fields(vmas.slot(ordinal));
    if ((vma.flags & VM.DONTCOPY) !== 0) continue;
    addVma(child, childOf(parent, vma));
    if (needsCopy(vma)) copyRange(parent, child, vma);
  }
}

/** The child's VMA: it is not locked, and its anonymous pages get an anon_vma of their own. */
function childOf(parent: Mm, vma: VmaFields): VmaFields {
  const flags = (vma.flags & ~LOCKED) >>> 0;
  const inherits = vma.anonVma !== 0 && (vma.flags & VM.WIPEONFORK) === 0;
  const anonVma = inherits ? parent.machine.nextAnonVma() : 0;
  return { ...vma, flags, anonVma, isForked: inherits };
}

/**
 * vma_needs_copy: a VMA without anonymous pages and guard markers is not copied, since page faults
 * fill its tables again. Device mappings are always copied, VM_WIPEONFORK never is.
 */
function needsCopy(vma: VmaFields): boolean {
  if ((vma.flags & VM.WIPEONFORK) !== 0) return false;
  if ((vma.flags & (VM.PFNMAP | VM.MIXEDMAP)) !== 0) return true;
  return vma.anonVma !== 0 || vma.isGuarded === true;
}

/** Fields with places in the store. Parent and child share the bytes that lie there. */
const STORED = [MM_FIELD.AUXV_AT, MM_FIELD.NOTES_AT] as const;

/** Copies addresses, auxiliary vector and notes. The bytes of the last two never change. */
function copyFields(from: MmStruct, to: MmStruct): void {
  for (const at of Object.values(MM_ADDRESS)) to.set64(at, from.get64(at));
  const { AUXV_BYTES, NOTES_BYTES, MARKERS } = MM_FIELD;
  for (const at of [AUXV_BYTES, NOTES_BYTES, MARKERS]) to.set(at, from.get(at));
  const { AUXV_AT, NOTES_AT, MMAP_BASE } = MM_FIELD;
  for (const at of [AUXV_AT, NOTES_AT, MMAP_BASE]) to.set64(at, from.get64(at));
  const defFlags = from.get64(MM_ADDRESS.def_flags);
  to.set64(MM_ADDRESS.def_flags, (defFlags & ~LOCKED) >>> 0); // mlockall is not inherited
}
