/** Small images for tests of their readers, and images that no dump could have written. */

import { crc32 } from 'node:zlib';
import {
  type AddressSpace,
  createMachine,
  type Dumper,
  type MemoryImage,
  MiB,
  memorySink,
  PAGE_SIZE,
} from 'mmdump';

export const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;

/** A few pages of several kinds: small enough to be damaged in every possible way. */
export function smallSpace(): AddressSpace {
  const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
  const space = machine.createAddressSpace();
  const at = space.mmap({ ...ANON, length: 8 * PAGE_SIZE });
  space.fill(at, PAGE_SIZE, 3);
  space.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
  space.write(at + 3 * PAGE_SIZE + 100, new Uint8Array([1, 2, 3]));
  const content = new Uint8Array(5000).fill(9);
  const { id } = machine.createFile({ path: '/lib/small', content });
  const file = space.mmap({ prot: 'rw', flags: ['private'], file: id, length: 2 * PAGE_SIZE });
  space.fill(file, PAGE_SIZE, 0);
  space.setAuxv(new Uint8Array(16).fill(1));
  space.setNotes(new Uint8Array(21).fill(2));
  space.modifyLdt({ entryNumber: 1, baseAddr: 0x1000, limit: 10 });
  return space;
}

export async function imageOf(
  dumper: Dumper,
  spaces: AddressSpace | readonly AddressSpace[],
  options = {},
): Promise<Buffer> {
  const sink = memorySink();
  await dumper.dump(spaces, { to: sink, ...options });
  return bytesOf(sink.image);
}

/** Copies only the bytes of an image in memory: its chunks are longer, and slow to touch. */
export function bytesOf({ bytes, chunks, chunkBytes }: MemoryImage): Buffer {
  const used = chunks.map((chunk, index) => {
    return chunk.subarray(0, Math.min(chunkBytes, bytes - index * chunkBytes));
  });
  return Buffer.concat(used);
}

export function inMemory(bytes: Uint8Array): MemoryImage {
  const chunk = new Uint8Array(new SharedArrayBuffer(Math.max(8, bytes.length)));
  chunk.set(bytes);
  return { bytes: bytes.length, chunks: [chunk], chunkBytes: 2 ** 31 };
}

/** Builds native records by hand, with their checksums: see docs/IMAGE_FORMAT.md. */
export function headRecord(totalLen: number, mmCount: number): Buffer {
  const head = Buffer.alloc(72);
  head.write('MMCP');
  head.writeUInt16LE(72, 4);
  head.writeUInt16LE(2, 6);
  head.writeUInt16LE(1, 8);
  head.writeUInt16LE(12, 10);
  head.writeBigUInt64LE(BigInt(totalLen), 24);
  head.writeUInt32LE(mmCount, 32);
  head.writeUInt32LE(crc32(head), 64);
  return head;
}

export function mmRecord(): Buffer {
  return objectRecord(1, 136, 136, 1, 128);
}

export function notesRecord(payloadBytes: number, payloadCrc: number): Buffer {
  const record = objectRecord(8192, 24, 24 + payloadBytes, 2, 20, (header) => {
    header.writeUInt32LE(payloadCrc, 16);
  });
  return record;
}

function objectRecord(
  type: number,
  headerBytes: number,
  bytes: number,
  content: number,
  crcAt: number,
  fill: (header: Buffer) => void = () => {},
): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeBigUInt64LE(BigInt(bytes), 0);
  header.writeUInt32LE(type, 8);
  header.writeUInt16LE(headerBytes, 12);
  header.writeUInt16LE(content, 14);
  fill(header);
  header.writeUInt32LE(crc32(header), crcAt);
  return header;
}
