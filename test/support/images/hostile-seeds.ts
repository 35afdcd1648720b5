/** Small valid images with every kind of record: the inputs that the reader's fuzzer mutates. */
import { type AddressSpace, createMachine, type Dumper, MiB, PAGE_SIZE } from 'mmdump';
import { ZERO_PAGE } from '../machine/zero-page.ts';
import { seal } from './image-mutations.ts';
import { ANON, imageOf, smallSpace } from './images.ts';
import { HAS_ZSTD } from './zstd.ts';

/** Three mms that share pages as after a fork, and memory-backed or deleted files. */
export function smallFamily(): AddressSpace[] {
  const machine = createMachine({
    memory: 4 * MiB,
    maxAddressSpaces: 3,
    store: MiB,
    zeroPage: ZERO_PAGE,
  });
  const parent = machine.createAddressSpace();
  const anon = parent.mmap({ ...ANON, length: 6 * PAGE_SIZE });
  parent.fill(anon, 3 * PAGE_SIZE, 5);
  parent.fill(anon + 4 * PAGE_SIZE, PAGE_SIZE, 0);
  const size = 4 * PAGE_SIZE;
  const shared = machine.createFile({ path: '/memfd:shared', memoryBacked: { size } });
  const at = parent.mmap({ prot: 'rw', flags: ['shared'], file: shared.id, length: size });
  parent.fill(at, PAGE_SIZE, 6);
  parent.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
  const content = new Uint8Array(size).fill(7);
  const gone = machine.createFile({ path: '/tmp/gone', content });
  const copied = parent.mmap({ prot: 'rw', flags: ['private'], file: gone.id, length: size });
  gone.unlink();
  parent.fill(copied, PAGE_SIZE, 8);
  parent.read(copied + PAGE_SIZE, new Uint8Array(1));
  parent.madvise(anon + 5 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  parent.modifyLdt({ entryNumber: 0, baseAddr: 1, limit: 1 });
  const child = parent.fork();
  child.fill(anon + PAGE_SIZE, PAGE_SIZE, 9);
  const other = child.fork();
  other.munmap(anon, PAGE_SIZE);
  return [parent, child, other];
}

/**
 * Returns an image of version 2 as version 1 would have written it: docs/IMAGE_FORMAT.md, section
 * "Version 1". Its digests must be crc32 or none, because version 1 knows no others.
 */
export function asVersion1(image: Buffer): Buffer {
  const bytes = Buffer.from(image);
  const digest = bytes.readUInt32LE(40);
  bytes.writeUInt16LE(1, 6);
  bytes.writeUInt32LE(bytes.readUInt32LE(12) | (digest === 0 ? 2 : 0), 12);
  bytes.writeUInt32LE(0, 40);
  seal(bytes, 0, 72, 64);
  for (let at = 72; at < bytes.length; at += Number(bytes.readBigUInt64LE(at))) {
    if (bytes.readUInt32LE(at + 8) !== 4098) continue;
    // The crc32 is at 32 in both versions. The flags come after it, and nothing is at 44.
    bytes.writeUInt32LE(bytes.readUInt32LE(at + 44), at + 36);
    bytes.writeUInt32LE(0, at + 44);
    seal(bytes, at, 48, 40);
  }
  return bytes;
}

/** State beside memory: an empty one, one with padding, and one without. */
export const SMALL_STATE = {
  cpu: Uint8Array.of(1, 2, 3),
  devices: new Uint8Array(24).fill(9),
  none: new Uint8Array(0),
};

/** Valid images of both versions. */
export async function hostileSeeds(dumper: Dumper): Promise<Buffer[]> {
  const crcs = { checksum: 'crc32' };
  const version2 = [
    await imageOf(dumper, smallSpace()),
    await imageOf(dumper, smallFamily()),
    await imageOf(dumper, smallFamily(), { blocks: 'page' }),
    await imageOf(dumper, smallFamily(), { checksum: 'none' }),
    await imageOf(dumper, smallFamily(), crcs),
    await imageOf(dumper, smallSpace(), { state: SMALL_STATE }),
    await imageOf(dumper, smallFamily(), { state: SMALL_STATE, checksum: 'none' }),
  ];
  if (HAS_ZSTD) {
    const compress = 'zstd';
    version2.push(await imageOf(dumper, smallFamily(), { compress }));
    version2.push(await imageOf(dumper, smallFamily(), { compress, checksum: 'none' }));
  }
  const version1 = [
    await imageOf(dumper, smallSpace(), crcs),
    await imageOf(dumper, smallFamily(), crcs),
    await imageOf(dumper, smallFamily(), { ...crcs, blocks: 'page' }),
    await imageOf(dumper, smallSpace(), { checksum: 'none' }),
    await imageOf(dumper, smallFamily(), { checksum: 'none' }),
  ];
  return [...version2, ...version1.map(asVersion1)];
}
