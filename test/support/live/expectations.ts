/** What an imported process must show, as lines that can be compared. */
import { readlinkSync } from 'node:fs';
import type { AddressSpace, Image } from 'mmdump';
import { expect } from 'vitest';
import { hex } from './capture.ts';
import type { LiveProcess } from './live-process.ts';
import { PAGE } from './proc.ts';
import type { Reference } from './reference.ts';

/** The VmFlags of smaps that an image keeps. */
const FLAG_NAMES: { readonly [letters: string]: string } = {
  rd: 'READ',
  wr: 'WRITE',
  ex: 'EXEC',
  sh: 'SHARED',
  mr: 'MAYREAD',
  mw: 'MAYWRITE',
  me: 'MAYEXEC',
  ms: 'MAYSHARE',
  gd: 'GROWSDOWN',
  pf: 'PFNMAP',
  lo: 'LOCKED',
  io: 'IO',
  sr: 'SEQ_READ',
  rr: 'RAND_READ',
  dc: 'DONTCOPY',
  de: 'DONTEXPAND',
  ac: 'ACCOUNT',
  nr: 'NORESERVE',
  ht: 'HUGETLB',
  wf: 'WIPEONFORK',
  dd: 'DONTDUMP',
  mm: 'MIXEDMAP',
  hg: 'HUGEPAGE',
  nh: 'NOHUGEPAGE',
  mg: 'MERGEABLE',
};

/** The mappings as lines: range, pgoff in the file, flags, path. */
export function expectedMappings({ pid }: LiveProcess, { vmas, fileKinds }: Reference): string[] {
  const exe = readlinkSync(`/proc/${pid}/exe`);
  return vmas.map((vma, at) => {
    const isFile = fileKinds[at] !== 'none';
    const flags = vma.letters.map((letters) => FLAG_NAMES[letters] ?? '').filter(Boolean);
    if (isFile && vma.name === exe) flags.push('EXECUTABLE');
    const { start, end, offset } = vma;
    return mappingLine(start, end, isFile ? offset / PAGE : null, flags, isFile ? vma.name : '');
  });
}

export function importedMappings(space: AddressSpace): string[] {
  return space
    .vmas()
    .map(({ start, end, pgoff, flagNames, file }) =>
      mappingLine(
        start,
        end,
        file === null ? null : pgoff,
        flagNames,
        Buffer.from(file ?? '').toString('latin1'),
      ),
    );
}

function mappingLine(
  start: number,
  end: number,
  pgoff: number | null,
  flags: readonly string[],
  path: string,
): string {
  return `${hex(start)}-${hex(end)} ${pgoff ?? '-'} ${[...flags].sort().join(' ')} ${path}`;
}

export function fileKindsIn(image: Image): string[] {
  return image.vmas().map(({ file }) => {
    if (file === null) return 'none';
    if (!file.isDeleted) return file.isMemoryBacked ? 'memory-backed' : 'living';
    return file.isMemoryBacked ? 'deleted, memory-backed' : 'deleted';
  });
}

/** Reads the fields of the only NT_PRPSINFO (x86-64, <sys/procfs.h>) by their offsets. */
export function parseProcessNote(notes: Uint8Array): object {
  const bytes = Buffer.from(notes);
  expect(bytes.readUInt32LE(0), 'length of the owner').toBe(5);
  expect(bytes.readUInt32LE(4), 'length of struct elf_prpsinfo').toBe(136);
  expect(bytes.readUInt32LE(8), 'NT_PRPSINFO').toBe(3);
  expect(bytes.toString('latin1', 12, 20)).toBe('CORE\0\0\0\0');
  const info = bytes.subarray(20, 20 + 136);
  const text = (from: number, to: number): string => {
    const value = info.toString('latin1', from, to);
    return value.slice(0, value.indexOf('\0'));
  };
  return {
    uid: info.readUInt32LE(16),
    gid: info.readUInt32LE(20),
    pid: info.readInt32LE(24),
    ppid: info.readInt32LE(28),
    name: text(40, 56),
    args: text(56, 136),
  };
}

/** Returns the pages of readable mappings whose content differs from that in the process. */
export function wrongIn(space: AddressSpace, { vmas, stored }: Reference): string[] {
  const wrong: string[] = [];
  const page = Buffer.alloc(PAGE);
  for (const { start, end, perms } of vmas) {
    if (!perms.startsWith('r')) continue;
    for (let address = start; address < end; address += PAGE) {
      const bytes = stored.get(address)?.bytes;
      if (bytes === null || bytes === undefined) continue;
      space.read(address, page);
      if (!page.equals(bytes)) wrong.push(hex(address));
    }
  }
  return wrong;
}
