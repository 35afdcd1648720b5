/**
 * The reference dumper: writes the whole `cpt` image of address spaces in one thread, page by page,
 * directly from docs/CLASSIFICATION.md and docs/IMAGE_FORMAT.md. It shares no code with the dumper
 * that it checks, and is slow and simple.
 */
import type { AddressSpace, Machine } from 'mmdump';
import { FILE_HEAD, OBJECT_TYPE } from '../../../src/shared/formats/cpt/records.ts';
import {
  type ClassifiedVma,
  classifyAll,
  type PageFate,
  ReferenceRefusal,
} from './reference-classifier.ts';
import { frameBytes, isPrivate, type ReferenceVma } from './reference-memory.ts';
import {
  assemble,
  type Block,
  bitsObject,
  copyPagesObject,
  dataObject,
  type ImageObject,
  mmObject,
  nameObject,
  type Policy,
  pageKey,
  pagesObject,
  type ReferenceImage,
  type ReferenceOptions,
  type StoredPage,
  stateObject,
  vmaObject,
} from './reference-records.ts';

/**
 * Returns the image; throws ReferenceRefusal if the dump must be refused. Pages that `parent` holds
 * are not stored again.
 */
export function referenceDump(
  machine: Machine,
  spaces: readonly AddressSpace[],
  options: ReferenceOptions,
  parent?: ReferenceImage,
): ReferenceImage {
  const classified = classifyAll(machine, spaces, options);
  if (options.unsupported === 'fail') refuseUnsupported(classified);
  const anonIds = anonIdsOf(classified);
  const fileIds = new Map<number, number>();
  const objects: ImageObject[] = [];
  const mmOffsets: number[] = [];
  const pages = new Map<string, Buffer>();
  const names = Object.keys(options.state ?? {}).map((name) => Buffer.from(name));
  for (const name of names.sort((a, b) => Buffer.compare(a, b)).map(String)) {
    objects.push(stateObject(name, options.state![name]!));
  }
  for (const [mm, space] of spaces.entries()) {
    const vmas = classified[mm]!;
    mmOffsets.push(FILE_HEAD.SIZE + lengthOf(objects));
    objects.push(mmObject(space, vmas.length));
    const auxv = space.auxv();
    if (auxv.length > 0) objects.push(dataObject(OBJECT_TYPE.MM_AUXV, 'MM_AUXV', auxv));
    const notes = space.notes();
    if (notes.length > 0) objects.push(dataObject(OBJECT_TYPE.CORE_NOTES, 'CORE_NOTES', notes));
    for (const each of vmas) {
      const { vma } = each;
      const blocks = makeBlocks(machine, mm, each, options, parent);
      for (const { vpn, as, frame } of blocks.flat()) {
        const isStored = as === 'DATA' || as === 'PARENT';
        if (isStored) pages.set(pageKey(mm, vpn), Buffer.from(frameBytes(machine, frame)));
      }
      objects.push(vmaObject(vma, blocks, anonIds.get(each) ?? 0));
      if (vma.file !== null) objects.push(nameObject(vma.file, fileIds));
      for (const block of blocks) {
        const isClone = block[0]!.as === 'CLONE';
        objects.push(
          isClone ? copyPagesObject(block, mmOffsets) : pagesObject(machine, block, options),
        );
      }
    }
    const ldt = space.readLdt();
    if (ldt.length > 0) objects.push(bitsObject(ldt));
  }
  const rows = new Set(classified.flat().flatMap((vma) => [...vma.rows]));
  return { ...assemble(objects, spaces.length, options, parent), rows, pages };
}

function lengthOf(objects: readonly ImageObject[]): number {
  return objects.reduce((sum, { header, payload }) => sum + header.length + payload.length, 0);
}

function refuseUnsupported(mms: readonly (readonly ClassifiedVma[])[]): void {
  for (const [mm, vmas] of mms.entries()) {
    for (const { vpn, fate } of vmas.flatMap(({ pages }) => pages)) {
      if (fate.is === 'UNSUPPORTED') throw new ReferenceRefusal('PAGE_UNSUPPORTED', mm, vpn * 4096);
    }
  }
}

/** Ids of the VMAs that clones connect: every clone joins two groups; the groups are numbered. */
function anonIdsOf(mms: readonly (readonly ClassifiedVma[])[]): Map<ClassifiedVma, number> {
  let groups: Set<ClassifiedVma>[] = [];
  const groupOf = (vma: ClassifiedVma): Set<ClassifiedVma> =>
    groups.find((group) => group.has(vma)) ?? new Set([vma]);
  for (const taker of mms.flat()) {
    for (const { vpn, fate } of taker.pages) {
      if (fate.is !== 'CLONE') continue;
      const giver = mms[fate.donor]!.find(({ vma }) => vma.start <= vpn && vpn < vma.end)!;
      const [a, b] = [groupOf(taker), groupOf(giver)];
      if (a === b) continue;
      groups = [...groups.filter((group) => group !== a && group !== b), new Set([...a, ...b])];
    }
  }
  const numbers = new Map<Set<ClassifiedVma>, number>();
  const ids = new Map<ClassifiedVma, number>();
  for (const vma of mms.flat()) {
    const group = groups.find((each) => each.has(vma));
    if (group === undefined) continue;
    if (!numbers.has(group)) numbers.set(group, numbers.size + 1);
    ids.set(vma, numbers.get(group)!);
  }
  return ids;
}

function storedPage(vma: ReferenceVma, page: PageFate, policy: Policy): StoredPage | null {
  const { vpn, fate } = page;
  const none = { vpn, filePage: false, frame: 0, donor: -1 };
  switch (fate.is) {
    case 'ABSENT':
      return null;
    case 'GUARD':
      return { ...none, as: 'GUARD' };
    case 'ZERO':
      return { ...none, as: 'ZERO', filePage: fate.ofCache && isPrivate(vma) };
    case 'CLONE':
      return { ...none, as: 'CLONE', donor: fate.donor };
    case 'COPY':
      return {
        ...none,
        as: 'DATA',
        filePage: fate.ofCache && isPrivate(vma),
        frame: fate.frame,
      };
    case 'UNSUPPORTED':
      if (policy !== 'copy' || fate.frame === null) return null;
      return { ...none, as: 'DATA', frame: fate.frame };
  }
}

/** Merges neighbouring pages of one class within a granule of 2 MiB; with 'page' it merges none. */
function makeBlocks(
  machine: Machine,
  mm: number,
  { vma, pages }: ClassifiedVma,
  options: ReferenceOptions,
  parent: ReferenceImage | undefined,
): Block[] {
  const blocks: StoredPage[][] = [];
  for (const page of pages) {
    const found = storedPage(vma, page, options.unsupported);
    if (found === null) continue;
    const inParent = parent?.pages.get(pageKey(mm, found.vpn));
    const isSame = found.as === 'DATA' && inParent?.equals(frameBytes(machine, found.frame));
    const stored: StoredPage = isSame === true ? { ...found, as: 'PARENT' } : found;
    const before = blocks.at(-1)?.at(-1);
    const merges =
      options.blocks === 'run' &&
      before !== undefined &&
      before.vpn + 1 === stored.vpn &&
      before.as === stored.as &&
      before.filePage === stored.filePage &&
      before.donor === stored.donor &&
      Math.floor(before.vpn / 512) === Math.floor(stored.vpn / 512);
    if (merges) blocks.at(-1)!.push(stored);
    else blocks.push([stored]);
  }
  return blocks;
}
