import { beforeAll, describe, expect, it } from 'vitest';
import { parseStat } from '../../../src/main/import/proc.ts';
import { prpsinfoNote } from '../../../src/main/import/prpsinfo.ts';
import { parseSmaps, type SmapsVma } from '../../../src/main/import/smaps.ts';
import { Yielder } from '../../../src/main/job/stop.ts';
import { VM } from '../../../src/shared/vm-flags.ts';

const SMAPS = `56490d8c6000-56490d8c8000 r--p 00002000 fe:00 260131                     /usr/bin/a b\\012c (deleted)
Size:                  8 kB
Rss:                   8 kB
Anonymous:             4 kB
KSM:                   0 kB
AnonHugePages:         0 kB
Swap:                 12 kB
THPeligible:           0
VmFlags: rd mr mw me sd
7f670c221000-7f670c223000 rw-s 00000000 00:00 0                          [vvar_vclock]
Rss:                   0 kB
VmFlags: rd wr sh mr mw ms pf io de dd
7fff00000000-7fff00001000 rw-p 00000000 00:00 0
VmFlags: rd wr mg ac
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
VmFlags: ex
`;

describe('smaps', () => {
  let vmas: SmapsVma[] = [];
  beforeAll(async () => {
    vmas = await parseSmaps(SMAPS, new Yielder(undefined));
  });

  it('gives ranges, names as the kernel writes them, and totals', () => {
    expect(vmas[0]).toMatchObject({
      start: 0x56490d8c6000,
      end: 0x56490d8c8000,
      pgoff: 2,
      device: 'fe:00',
      inode: 260131n,
      name: '/usr/bin/a b\\012c (deleted)',
      totals: { rss: 8, anonymous: 4, swap: 12, ksm: 0, anonHugePages: 0 },
    });
    expect(vmas[2]).toMatchObject({ name: '', inode: 0n });
    const unknown = { rss: null, anonymous: null, swap: null, ksm: null, anonHugePages: null };
    expect(vmas[2]!.totals).toEqual(unknown); // the output has no such line
  });

  it('turns VmFlags into VM_* and ignores letters that have none', () => {
    const { READ, WRITE, SHARED, MAYREAD, MAYWRITE, MAYEXEC, MAYSHARE } = VM;
    expect(vmas[0]!.flags).toBe(READ | MAYREAD | MAYWRITE | MAYEXEC);
    const device = VM.PFNMAP | VM.IO | VM.DONTEXPAND | VM.DONTDUMP;
    expect(vmas[1]!.flags).toBe(READ | WRITE | SHARED | MAYREAD | MAYWRITE | MAYSHARE | device);
    expect(vmas[2]!.flags).toBe((READ | WRITE | VM.MERGEABLE | VM.ACCOUNT) >>> 0);
  });

  it('leaves vsyscall out', () => {
    expect(vmas.map(({ name }) => name)).not.toContain('[vsyscall]');
  });
});

describe('stat', () => {
  const line = '77 (a ) (b) S 1 77 78 0 -1 4194560 1 2 3 4 5 6 7 8 20 -5 1 0 4711 9 10';

  it('counts fields from the last parenthesis', () => {
    const stat = parseStat(line);
    expect(stat.name).toBe('a ) (b');
    expect(stat.state).toBe('S');
    expect(stat.field(4)).toBe(1);
    expect(stat.startTime).toBe('4711');
    expect(stat.field(60)).toBe(0);
  });

  it('goes into NT_PRPSINFO', () => {
    const ids = { pid: 77, uid: 1000, gid: 100 };
    const note = Buffer.from(prpsinfoNote(parseStat(line), ids, Buffer.from('a\0-b\0')));
    expect(note.length).toBe(156);
    expect(note.readUInt32LE(8)).toBe(3);
    expect(note.toString('latin1', 12, 17)).toBe('CORE\0');
    const info = note.subarray(20);
    expect(info.readInt32LE(24)).toBe(77);
    expect(info.readUInt32LE(16)).toBe(1000);
    expect(info.readInt8(3)).toBe(-5);
    expect(info.toString('latin1', 40, 46)).toBe('a ) (b');
    expect(info.toString('latin1', 56, 60)).toBe('a -b');
  });
});
