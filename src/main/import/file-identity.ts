/**
 * The identity of a file of this kernel: its device and its inode, as stat(2) gives them. Both are
 * 64-bit numbers, and file systems use all of the bits (an overlay with xino puts the layer into
 * the highest ones). So neither may ever pass through a double, which would make two files one.
 */
import type { BigIntStats } from 'node:fs';

export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** Node reads the fields of stat as signed: an inode of 2^63 and more comes out negative. */
export function identityOf({ dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>): FileIdentity {
  return { device: BigInt.asUintN(64, dev), inode: BigInt.asUintN(64, ino) };
}

export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.device === b.device && a.inode === b.inode;
}

/** The identity as text, for use as a key. */
export function identityKey({ device, inode }: FileIdentity): string {
  return `${device}:${inode}`;
}

/** A device number of stat as mountinfo writes it, `254:0`. */
export function deviceText(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffff_ff00n);
  return `${major}:${minor}`;
}

/** The same text for a device as maps and smaps write it, `fe:00`. */
export function normaliseDevice(device: string): string {
  const [major, minor] = device.split(':');
  return `${Number.parseInt(major ?? '', 16)}:${Number.parseInt(minor ?? '', 16)}`;
}
